package show

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"substrate/fsdiff"
	"substrate/internal/replay"
	"substrate/internal/world"
	"substrate/internal/world/net/netlog"
	"substrate/trace"
)

var update = flag.Bool("update", false, "write the golden files")

// sampleResult is a run with something of everything.
func sampleResult() *world.Result {
	b := fsdiff.New("/w", "overlay", 0)
	file, dir := fsdiff.Meta{FileType: fsdiff.File, Mode: "0644"}, fsdiff.Meta{FileType: fsdiff.Dir, Mode: "0755"}
	b.Add("/w/demo", fsdiff.Create, dir, nil)
	b.Add("/w/demo/file.txt", fsdiff.Create, file, nil)
	b.Add("/w/two\nlines\xff", fsdiff.Create, file, nil)
	b.Add("/etc/hosts", fsdiff.Modify, file, &file)
	b.Add("/w/gone", fsdiff.Delete, file, nil)
	b.Add("/w/link", fsdiff.TypeChange, file, &dir)
	return &world.Result{
		Exit: 3, Duration: 1500 * time.Millisecond, Diff: b.Finish(), UpperEntries: 7,
		Blocked: []netlog.Event{
			{Proto: "tcp", Dst: netip.MustParseAddr("192.0.2.1"), Port: 443},
			{Proto: "icmp", Dst: netip.MustParseAddr("192.0.2.7")},
		},
		Lookups: []string{"example.com", "evil\x1b[31m.com"},
		Degraded: []world.Degradation{
			{Name: "cgroup", Message: "cgroup v2 unavailable or insufficient privileges; skipping cgroup attach", Asked: true},
			{Name: "cgroup", Message: "cgroup v2 unavailable or insufficient privileges; skipping cgroup attach", Asked: true},
			{Name: "dmesg", Message: "kernel.dmesg_restrict=1; LOG lines may not be visible"},
		},
		Strategy: "overlay", WorldID: "wld_0123456789abcdef0123456789abcdef",
		Usage: world.Usage{User: 20 * time.Millisecond, System: 10 * time.Millisecond, MaxRSS: 4 << 20},
	}
}

// recorded is the span that the samples replay.
func recorded(exit int) *trace.Record {
	return &trace.Record{
		SpanID: "spn_00000000000000000000000000000001", TS: "2025-09-10T02:20:33.000000000Z",
		Completion: &trace.Completion{Exit: exit},
	}
}

// sample makes an outcome of a result.
func sample(res *world.Result, span *trace.Record) *replay.Outcome {
	o := &replay.Outcome{
		SpanID: "spn_0123456789abcdef0123456789abcdef", Cmd: "make", Plan: replay.Plan{Cmd: "make", Cwd: "/w", Mode: "bash -c"},
		Was: span, Result: res, Mask: func(s string) string { return s },
		Done: trace.Completion{
			Exit: res.Exit, TermSignal: res.Signal, DurationMS: res.Duration.Milliseconds(), ScopesUsed: replay.Scopes("/w", res), FSDiff: res.Diff,
			DegradedComponents: replay.Degraded(res), WorldID: res.WorldID, FSStrategy: res.Strategy, FSFallbackReasons: res.Fallbacks,
		},
		Stdout: "/t/out", Stderr: "/t/err",
	}
	if span != nil {
		o.Plan.ReplayOf = span.SpanID
		o.Done.ReplayContext = &trace.ReplayContext{Verdict: replay.Compare(*span, nil, &o.Done, nil)}
	}
	return o
}

// RPL6, RPL7: the report, word for word.
func TestReportText(t *testing.T) {
	still := sampleResult()
	still.Diff.Entries[0].Before = &fsdiff.Meta{Mtime: "2025-09-10T02:20:32.999000000Z"}
	tests := map[string]*replay.Outcome{
		"new-command": sample(sampleResult(), nil),
		"limited":     sample(sampleResult(), nil),
		"nothing":     sample(&world.Result{}, nil),
		"replay-same": sample(&world.Result{Exit: 3}, recorded(3)),
		"failed":      sample(&world.Result{Exit: 1}, recorded(0)),
		"still-there": sample(still, recorded(3)),
		"signal":      sample(&world.Result{Exit: 143, Signal: 15}, recorded(143)),
		"timeout":     sample(&world.Result{Exit: 124, TimedOut: true}, recorded(0)),
	}
	for name, o := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "report", name+".txt")
			maxLines := 1000
			if name == "limited" {
				maxLines = 2
			}
			got := Outcome(o, maxLines)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("report differs (-want +got):\n%s", d)
			}
		})
	}
}

// compiled is one of the schemas of --json, with those that it refers to.
func compiled(t *testing.T, id string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	for id, text := range map[string][]byte{
		"urn:substrate:schema:replay:1": replay.Schema(), "urn:substrate:schema:replay-batch:1": replay.BatchSchema(), "urn:substrate:schema:fs-diff:1": fsdiff.Schema,
	} {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(id, doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// RPL6: the JSON of a run is one line, fits the schema, and has every field of the schema.
func TestReportJSON(t *testing.T) {
	schema := compiled(t, "urn:substrate:schema:replay:1")
	for name, o := range map[string]*replay.Outcome{
		"new": sample(sampleResult(), nil), "replay": sample(sampleResult(), recorded(0)), "host": sample(&world.Result{}, recorded(0)),
	} {
		text, err := o.Report().JSON()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if bytes.Count(text, []byte("\n")) != 1 || text[len(text)-1] != '\n' {
			t.Errorf("%s: not one line: %q", name, text)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{
			"span_id", "replay_of", "exit", "term_signal", "duration_ms", "world_id", "fs_strategy", "fs_fallback_reasons",
			"fs_diff", "scopes_used", "degraded_components", "usage", "verdict", "stdout_path", "stderr_path",
		} {
			if _, ok := fields[f]; !ok {
				t.Errorf("%s: no field %s", name, f)
			}
		}
	}
}

// The schema refuses a report that is wrong.
func TestReplaySchemaRefuses(t *testing.T) {
	schema := compiled(t, "urn:substrate:schema:replay:1")
	o := sample(sampleResult(), nil)
	o.SpanID = "../../etc"
	text, err := o.Report().JSON()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if schema.Validate(doc) == nil {
		t.Error("the schema accepts a span id that is a path")
	}
}

// RPL8: a command that fits on one line is shown as it is.
func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		`printf 'a\n'`: `printf 'a\n'`, "a\nb": `a\nb`, "é\x1b": `é\x1b`, "a\\\n": `a\\\n`, "bad\xff": `bad\xff`,
	} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) = %s, want %s", in, got, want)
		}
	}
}
