package trace_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/trace"
)

// writeTrace writes lines: a Record as a Writer does, a string as it is.
func writeTrace(t *testing.T, path string, lines ...any) {
	t.Helper()
	var text []byte
	for _, l := range lines {
		switch l := l.(type) {
		case string:
			text = append(text, l...)
		case *trace.Record:
			text = append(trace.AppendJSON(text, stamped(l)), '\n')
		}
	}
	must(t, os.WriteFile(path, text, 0o600))
}

func named(cmd, id string) *trace.Record {
	r := testStart(cmd)
	r.SpanID = id
	return r
}

func shimmed(r *trace.Record) *trace.Record {
	r.Component = trace.ComponentShim
	return r
}

// TRC9, TRC3: Find finds a span by id, by prefix and by place, also in rotated files.
func TestFind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	a, b, c, d := named("a", "spn_aa00"), named("b", "spn_ab00"), named("c", "spn_b000"), named("d", "spn_d000")
	shim := shimmed(named("shim", "spn_e000"))
	old := named("old", "spn_f0")
	writeTrace(t, path+".2", old, testComplete(old), `{"span_id":"odd","cmd":"foreign","exit":4}`+"\n")
	writeTrace(t, path+".1", a, testComplete(a), b)
	writeTrace(t, path, testComplete(b), c, "not json\n", "\n", shim, testComplete(shim), d, testComplete(d), `{"cmd":"to`)
	writeTrace(t, path+".bak", named("backup", "spn_ba"))
	writeTrace(t, path+".03", named("backup", "spn_bb"))
	for ref, want := range map[string]string{
		"last": "d", "last~0": "d", "last~1": "c", "last~2": "b", "last~3": "a", "last~4": "foreign", "last~5": "old",
		"spn_aa00": "a", "spn_aa": "a", "aa": "a", "ab0": "b", "c": "", "b": "c", "spn_b": "c", "e": "shim", "spn_e000": "shim",
		"f0": "old", "odd": "foreign", "od": "foreign",
		"": "", "last~6": "", "last~-1": "", "last~x": "", "latest": "", "spn_aa000": "", "cmd": "", `"`: "",
	} {
		span, err := trace.Find(path, ref)
		switch {
		case want == "" && !errors.Is(err, trace.ErrNotFound):
			t.Errorf("Find(%q) = %v, %v, want ErrNotFound", ref, span, err)
		case want != "" && err != nil:
			t.Errorf("Find(%q) = %v, want %q", ref, err, want)
		case want != "" && span.Last().Cmd != want:
			t.Errorf("Find(%q) = %q, want %q", ref, span.Last().Cmd, want)
		}
	}
	b2, err := trace.Find(path, "ab")
	must(t, err)
	if b2.Start == nil || b2.Complete == nil || b2.Incomplete() {
		t.Errorf("Find over two files = %+v, want both lines", b2)
	}
}

// TRC9: the error for an ambiguous prefix names the spans; a full id is never ambiguous.
func TestFindAmbiguous(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	writeTrace(t, path, named("a", "spn_a1"), named("b", "spn_a12"), named("c", "spn_a13"))
	_, err := trace.Find(path, "a")
	if !errors.Is(err, trace.ErrAmbiguous) || !strings.Contains(err.Error(), "spn_a13, spn_a12, spn_a1") {
		t.Errorf(`Find("a") = %v, want ErrAmbiguous with three names`, err)
	}
	if span, err := trace.Find(path, "spn_a1"); err != nil || span.ID() != "spn_a1" {
		t.Errorf(`Find("spn_a1") = %v, %v`, span, err)
	}
	var many []any
	for range 20 {
		many = append(many, testStart("x"))
	}
	writeTrace(t, path, many...)
	if _, err := trace.Find(path, "0"); !errors.Is(err, trace.ErrAmbiguous) || !strings.HasSuffix(err.Error(), " and more") {
		t.Errorf(`Find("0") = %v, want ErrAmbiguous and more`, err)
	}
}

// REC3, TRC8: Find finds a span without its end, and one without its start.
func TestFindIncomplete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	killed, compacted := testStart("killed"), testStart("compacted")
	writeTrace(t, path, killed, testComplete(compacted))
	if span, err := trace.Find(path, killed.SpanID); err != nil || !span.Incomplete() || span.Last().Cmd != "killed" {
		t.Errorf("Find(killed) = %+v, %v, want it incomplete", span, err)
	}
	if span, err := trace.Find(path, compacted.SpanID); err != nil || span.Incomplete() || span.Start != nil {
		t.Errorf("Find(compacted) = %+v, %v, want its complete line alone", span, err)
	}
}

// TRC9: "last" is neither the command that asks nor a command that it runs in.
func TestFindLastInsideACommand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	before, outer, inner, sibling := testStart("before"), testStart("outer"), shimmed(testStart("inner")), testStart("sibling")
	inner.ParentSpan, sibling.ParentSpan = outer.SpanID, outer.SpanID
	writeTrace(t, path, before, testComplete(before), outer, sibling, testComplete(sibling), inner)
	r := trace.Reader{Path: path, Inside: inner.SpanID}
	for ref, want := range map[string]string{"last": "sibling", "last~1": "before"} {
		if span, err := r.Find(ref); err != nil || span.Last().Cmd != want {
			t.Errorf("Find(%s) inside = %+v, %v, want %q", ref, span, err, want)
		}
	}
	if span, err := trace.Find(path, "last~1"); err != nil || span.Last().Cmd != "outer" {
		t.Errorf("Find(last~1) outside = %+v, %v, want outer", span, err)
	}
}

func TestFindWithoutTrace(t *testing.T) {
	dir := t.TempDir()
	if _, err := trace.Find(filepath.Join(dir, "none", "t"), "last"); !errors.Is(err, trace.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find in no directory = %v", err)
	}
	if _, err := trace.Find(filepath.Join(dir, "t"), "spn_1"); !errors.Is(err, trace.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find in no file = %v", err)
	}
	writeTrace(t, filepath.Join(dir, "t.1"), testStart("rotated away"))
	if _, err := trace.Find(filepath.Join(dir, "t"), "last"); err != nil {
		t.Errorf("Find with nothing but a rotated file = %v", err)
	}
}

// TRC2, TRC10: Scan returns the lines oldest first and warns of those that it skips.
func TestScan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	a, b, c := testStart("a"), testStart("b"), testStart("c")
	writeTrace(t, path+".1", a, `{"torn":`+"\n", b)
	writeTrace(t, path, "\n", `[1]`+"\n", `{"no":"cmd"}`+"\n", c, `{"cmd":"torn`)
	var cmds, warnings []string
	r := trace.Reader{Path: path, Warn: func(w trace.Warning) {
		kind := "foreign"
		if errors.Is(w.Err, trace.ErrTorn) {
			kind = "torn"
		}
		warnings = append(warnings, strings.TrimPrefix(w.String(), filepath.Dir(path))+" "+kind)
	}}
	must(t, r.Scan(func(r *trace.Record) error {
		cmds = append(cmds, r.Cmd)
		return nil
	}))
	if diff := cmp.Diff([]string{"a", "b", "", "c"}, cmds); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want := []string{
		"/trace.jsonl.1:2: not a JSON object: unexpected end of JSON input foreign",
		"/trace.jsonl:2: not a JSON object foreign",
		"/trace.jsonl:5: torn last line torn",
	}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	stop := errors.New("stop")
	if err := trace.Scan(path, func(*trace.Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Scan = %v, want the error of its function", err)
	}
}

// TRC2: a search warns of a torn line once, however it finds the span.
func TestFindWarnsOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	a := testStart("a")
	writeTrace(t, path, a, testComplete(a), `{"cmd":"torn`)
	for _, ref := range []string{"last", a.SpanID, a.SpanID[:20]} {
		n := 0
		r := trace.Reader{Path: path, Warn: func(trace.Warning) { n++ }}
		if _, err := r.Find(ref); err != nil || n != 1 {
			t.Errorf("Find(%s) = %v with %d warnings, want 1", ref, err, n)
		}
	}
}
