package trace_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"substrate/internal/tracecheck"
	"substrate/trace"
)

// testStart and testComplete are the two lines of one ordinary command.
func testStart(cmd string) *trace.Record {
	return &trace.Record{
		EventType: trace.EventStart, SessionID: "ses_1", Component: trace.ComponentShell, SpanID: trace.NewSpanID(), Cmd: cmd,
		Shell: "/bin/bash", ShellArgs: []string{"-c", cmd}, Cwd: "/home/u/src", Umask: "0022",
		Env:        map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/u", "LANG": "C.UTF-8", "TERM": "xterm"},
		EnvHashes:  map[string]string{"EDITOR": strings.Repeat("0f", 16)},
		AgentID:    "human",
		Host:       "box",
		UID:        1000,
		GID:        1000,
		PID:        4711,
		ParentSpan: "",
	}
}

var testTime = time.Date(2025, 9, 10, 2, 20, 33, 123456789, time.UTC)

// stamped returns r as a Writer completes it.
func stamped(r *trace.Record) *trace.Record {
	r.TraceSchemaVersion, r.TS = trace.SchemaVersion, trace.FormatTime(testTime)
	return r
}

func testComplete(start *trace.Record) *trace.Record {
	r := *start
	r.EventType, r.TS = trace.EventComplete, ""
	r.Completion = &trace.Completion{DurationMS: 12, Usage: trace.Usage{UserMS: 3, SysMS: 2, MaxRSSKB: 3456}}
	return &r
}

// readLines returns the lines of a trace. Each that ends as an object does must fit the schema.
func readLines(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		t.Errorf("%s does not end with a newline", path)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i, line := range lines {
		if !strings.HasSuffix(line, "}") {
			continue
		}
		problems, err := tracecheck.Validate(strings.NewReader(line))
		must(t, err)
		for _, p := range problems {
			t.Errorf("%s: line %d: %s", path, i+1, p)
		}
	}
	return lines
}

// TRC2: a torn last line stays alone, and the next one begins on a fresh line.
func TestWriteAfterTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	w, err := trace.Open(path, trace.AppendOptions{})
	must(t, err)
	defer w.Close()
	tear := func() {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(`{"cmd":"to`); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	for range 3 { // torn before the first line, and between two lines of one writer
		tear()
		if err := w.Write(testStart("true")); err != nil {
			t.Fatal(err)
		}
	}
	lines := readLines(t, path)
	if len(lines) != 6 {
		t.Fatalf("%d lines, want 6: %q", len(lines), lines)
	}
	for i, line := range lines {
		if whole := strings.HasSuffix(line, "}"); whole != (i%2 == 1) {
			t.Errorf("line %d is %q", i+1, line)
		}
	}
}

// TRC2: a writer that holds the old file open moves to the new one.
func TestWriteFollowsReplacedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	w, err := trace.Open(path, trace.AppendOptions{})
	must(t, err)
	defer w.Close()
	must(t, w.Write(testStart("one")))
	must(t, os.Rename(path, path+".1"))
	must(t, w.Write(testStart("two")))
	must(t, w.Write(testStart("three")))
	must(t, os.Remove(path))
	must(t, w.Write(testStart("four")))
	for p, want := range map[string]string{path + ".1": "one", path: "four"} {
		lines := readLines(t, p)
		if len(lines) != 1 || !strings.Contains(lines[0], `"cmd":"`+want+`"`) {
			t.Errorf("%s = %q, want the line of %q", p, lines, want)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
