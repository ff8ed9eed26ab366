package trace_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"substrate/trace"
)

// hostileLines are seeds for everything that reads foreign lines.
var hostileLines = []string{
	"", "\n", "{", "{}\n{}\n", "not json\n{\"cmd\":\"x\"}\n{\"cmd\":\"to", "\xff\xfe\n", `{"span_id":"a","parent_span":"a","event_type":"command_start"}` + "\n",
	`{"span_id":"a","exit":1}` + "\n" + `{"span_id":"a","event_type":"command_start"}` + "\n", `{"fs_diff":{"entries":[{}]},"exit":-1,"ts":5}` + "\n",
	`{"trace_schema_version":1,"ts":"x","event_type":"command_start","session_id":"s","component":"shell","span_id":"spn_1"` + "\n",
}

// FuzzReader: a reader never crashes, and all its ways of reading agree (TRC10).
func FuzzReader(f *testing.F) {
	for _, text := range hostileLines {
		f.Add([]byte(text), "last")
	}
	f.Add(append(trace.AppendJSON(nil, stamped(testStart("x"))), '\n'), "0")
	f.Fuzz(func(t *testing.T, text []byte, ref string) {
		path := filepath.Join(t.TempDir(), "trace.jsonl")
		must(t, os.WriteFile(path, append(text, '\n'), 0o600)) // a torn end is waited for
		lines := 0
		must(t, trace.Scan(path, func(*trace.Record) error { lines++; return nil }))
		var spans []*trace.Span
		must(t, (&trace.Reader{Path: path}).Spans(trace.Filter{}, func(s *trace.Span) bool {
			spans = append(spans, s)
			s.Began()
			return true
		}))
		if len(spans) > lines || len(trace.Tree(spans)) != len(spans) || (lines > 0) != (len(spans) > 0) {
			t.Errorf("%d lines, %d spans, %d in the tree", lines, len(spans), len(trace.Tree(spans)))
		}
		if span, err := trace.Find(path, ref); err == nil && span.Last() == nil {
			t.Errorf("Find(%q) gives nothing", ref)
		}
	})
}

// FuzzCompact: compaction keeps lines unchanged and in order, and a second run drops nothing
// (TRC8).
func FuzzCompact(f *testing.F) {
	for _, text := range hostileLines {
		f.Add([]byte(text))
	}
	start := testStart("x")
	f.Add(append(append(trace.AppendJSON(nil, stamped(start)), '\n'), trace.AppendJSON(nil, stamped(testComplete(start)))...))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "trace.jsonl")
		must(t, os.WriteFile(path, text, 0o600))
		done, err := trace.Compact(context.Background(), path, trace.CompactOptions{})
		if err != nil {
			t.Skip(err) // a system without locks
		}
		after, err := os.ReadFile(path)
		must(t, err)
		rest := text
		for line := range bytes.Lines(after) {
			_, found, ok := cutLine(rest, line)
			if !ok {
				t.Fatalf("%q is not in what was there", line)
			}
			rest = found
		}
		if want := bytes.Count(text, []byte{'\n'}) - done[0].Dropped(); bytes.Count(after, []byte{'\n'}) != want || int64(len(after)) != done[0].BytesAfter {
			t.Errorf("%d lines and %d bytes are left of %+v", bytes.Count(after, []byte{'\n'}), len(after), done[0])
		}
		again, err := trace.Compact(context.Background(), path, trace.CompactOptions{})
		if err != nil || again[0].Dropped() != 0 {
			t.Errorf("a second run: %+v, %v", again, err)
		}
	})
}

// cutLine finds a whole line and returns what is before and after it.
func cutLine(text, line []byte) (before, after []byte, ok bool) {
	padded := "\n" + string(text)
	i := strings.Index(padded, "\n"+string(line))
	if i < 0 {
		return nil, nil, false
	}
	return text[:i], text[i+len(line):], true
}
