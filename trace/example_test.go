package trace_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"substrate/trace"
)

// newTrace writes a trace with two complete spans and one that still runs. The caller removes the
// directory of the trace.
func newTrace() (path string, err error) {
	dir, err := os.MkdirTemp("", "trace-example-")
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "trace.jsonl")
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, cmd := range []string{"make", "make test", "sleep 100"} {
		r := trace.Record{
			TraceSchemaVersion: trace.SchemaVersion,
			TS:                 trace.FormatTime(began.Add(time.Duration(i) * time.Second)),
			EventType:          trace.EventStart,
			SessionID:          "ses_1",
			Component:          trace.ComponentShell,
			SpanID:             trace.NewSpanID(),
			Cmd:                cmd,
			Cwd:                "/project",
		}
		if err := trace.Append(path, &r, trace.AppendOptions{}); err != nil {
			return path, err
		}
		if cmd == "sleep 100" {
			break
		}
		r.EventType = trace.EventComplete
		r.Completion = &trace.Completion{Exit: i, ScopesUsed: []string{}}
		if err := trace.Append(path, &r, trace.AppendOptions{}); err != nil {
			return path, err
		}
	}
	return path, nil
}

// Write two lines of a span and read them again.
func ExampleAppend() {
	path, err := newTrace()
	defer func() { _ = os.RemoveAll(filepath.Dir(path)) }()
	if err != nil {
		log.Fatal(err)
	}
	err = trace.Scan(path, func(r *trace.Record) error {
		fmt.Println(r.TS, r.EventType, r.Cmd)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// 2026-01-02T03:04:05.000000000Z command_start make
	// 2026-01-02T03:04:05.000000000Z command_complete make
	// 2026-01-02T03:04:06.000000000Z command_start make test
	// 2026-01-02T03:04:06.000000000Z command_complete make test
	// 2026-01-02T03:04:07.000000000Z command_start sleep 100
}

// Find a span by "last", by "last~N", or by its id or the beginning of it.
func ExampleReader_Find() {
	path, err := newTrace()
	defer func() { _ = os.RemoveAll(filepath.Dir(path)) }()
	if err != nil {
		log.Fatal(err)
	}
	reader := trace.Reader{Path: path}
	span, err := reader.Find("last~1")
	if err != nil {
		log.Fatal(err)
	}
	same, err := reader.Find(span.ID())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(same.Complete.Cmd, "ended with", same.Complete.Exit)
	// Output: make test ended with 1
}

// Go through the spans of a session, the newest first.
func ExampleReader_Spans() {
	path, err := newTrace()
	defer func() { _ = os.RemoveAll(filepath.Dir(path)) }()
	if err != nil {
		log.Fatal(err)
	}
	reader := trace.Reader{Path: path, Warn: func(w trace.Warning) { log.Print(w) }}
	err = reader.Spans(trace.Filter{Session: "ses_1"}, func(s *trace.Span) bool {
		if s.Incomplete() {
			fmt.Println(s.Start.Cmd, "has not ended")
		} else {
			fmt.Println(s.Complete.Cmd, s.Complete.Exit)
		}
		return true
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// sleep 100 has not ended
	// make test 1
	// make 0
}
