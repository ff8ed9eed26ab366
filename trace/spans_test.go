package trace_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"substrate/trace"
)

// spanCmds returns the commands of Spans, with "!" for an incomplete one.
func spanCmds(t *testing.T, path string, f trace.Filter, limit int) string {
	t.Helper()
	var cmds []string
	must(t, (&trace.Reader{Path: path}).Spans(f, func(s *trace.Span) bool {
		cmd := s.Last().Cmd
		if s.Incomplete() {
			cmd += "!"
		}
		cmds = append(cmds, cmd)
		return len(cmds) != limit
	}))
	return strings.Join(cmds, " ")
}

// TRC9, TRC3, REC3: Spans yields each span of all files once, newest first; without its end it is
// incomplete.
func TestSpans(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	a, b, c, d := testStart("a"), testStart("b"), testStart("c"), testStart("d")
	b.SessionID = "ses_2"
	writeTrace(t, path+".1", a, b, testComplete(a), "{torn\n", `{"cmd":"foreign"}`+"\n")
	writeTrace(t, path, c, testComplete(c), testComplete(b), d)
	for _, c := range []struct {
		f     trace.Filter
		limit int
		want  string
	}{
		{trace.Filter{}, 0, "d! b c foreign! a"},
		{trace.Filter{}, 2, "d! b"},
		{trace.Filter{Session: "ses_2"}, 0, "b"},
		{trace.Filter{Session: "ses_"}, 0, "d! b c a"},
		{trace.Filter{Since: testTime}, 0, "d! b c a"},
		{trace.Filter{Since: testTime.Add(time.Nanosecond)}, 0, ""},
	} {
		if got := spanCmds(t, path, c.f, c.limit); got != c.want {
			t.Errorf("Spans(%+v, %d) = %q, want %q", c.f, c.limit, got, c.want)
		}
	}
	err := (&trace.Reader{Path: path + "no"}).Spans(trace.Filter{}, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Spans without a trace = %v", err)
	}
}

func TestBegan(t *testing.T) {
	before := time.Now()
	s := &trace.Span{Complete: testComplete(testStart("x"))}
	if got := s.Began(); got.Before(before.Add(-time.Millisecond)) || got.After(time.Now()) {
		t.Errorf("Began of a fresh id = %v", got)
	}
	s.Complete.SpanID, s.Complete.TS = "odd", trace.FormatTime(testTime)
	if got := s.Began(); !got.Equal(testTime.Add(-12 * time.Millisecond)) {
		t.Errorf("Began by the duration = %v", got)
	}
	s.Complete.TS = "yesterday"
	if got := s.Began(); !got.IsZero() {
		t.Errorf("Began of nothing = %v", got)
	}
}

// family returns spans from "id:parent" words.
func family(words string) (spans []*trace.Span) {
	for i, word := range strings.Fields(words) {
		r := testStart(word)
		r.SpanID, r.ParentSpan, _ = strings.Cut(word, ":")
		r.TS = trace.FormatTime(testTime.Add(time.Duration(i) * time.Second))
		spans = append(spans, &trace.Span{Start: r})
	}
	return spans
}

// TRC9, TRC10: siblings, missing parents, and cycles that only a hostile trace has.
func TestTree(t *testing.T) {
	for _, c := range []struct{ spans, want string }{
		{"", ""},
		{"a: b:a c:b d:a e:", "a(b(c)d)e"},
		{"d:a c:b b:a a:", "a(d b(c))"},
		{"x:gone y:x z:gone", "x?(y)z?"},
		{"a:a", "a@"},
		{"a:b b:a c:b d:c e:", "e a@(b(c(d)))"},
		{"x:y y:c c:d d:c e:e", "c@(y(x)d)e@"},
		{"a: a: b:a", "a(b)a"},
	} {
		var b strings.Builder
		depth := 0
		for i, n := range trace.Tree(family(c.spans)) {
			switch {
			case n.Depth > depth:
				b.WriteString(strings.Repeat("(", n.Depth-depth))
			case n.Depth < depth:
				b.WriteString(strings.Repeat(")", depth-n.Depth))
			case i > 0:
				b.WriteString(" ")
			}
			depth = n.Depth
			b.WriteString(n.Span.ID())
			if n.Orphan {
				b.WriteString("?")
			}
			if n.Cycle {
				b.WriteString("@")
			}
		}
		b.WriteString(strings.Repeat(")", depth))
		if got, want := strings.ReplaceAll(b.String(), " ", ""), strings.ReplaceAll(c.want, " ", ""); got != want {
			t.Errorf("Tree(%s) = %s, want %s", c.spans, got, want)
		}
	}
}

// Tree handles a chain, or a cycle, of a hundred thousand commands.
func TestTreeOfHostileDepth(t *testing.T) {
	var words strings.Builder
	const n = 100_000
	for i := range n {
		fmt.Fprintf(&words, "%d:%d ", i, (i+1)%n)
	}
	nodes := trace.Tree(family(words.String()))
	if len(nodes) != n || !nodes[0].Cycle || nodes[0].Span.ID() != "0" || nodes[n-1].Depth != n-1 {
		t.Errorf("%d nodes, the first %+v", len(nodes), nodes[0])
	}
}
