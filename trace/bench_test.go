package trace_test

import (
	"path/filepath"
	"testing"

	"substrate/trace"
)

func BenchmarkAppendJSON(b *testing.B) {
	r := testComplete(testStart("make test"))
	var buf []byte
	for b.Loop() {
		buf = trace.AppendJSON(buf[:0], r)
	}
	b.SetBytes(int64(len(buf)))
}

// BenchmarkAppend measures what one command costs: one open and two lines.
func BenchmarkAppend(b *testing.B) {
	path := filepath.Join(b.TempDir(), "trace.jsonl")
	start := testStart("make test")
	complete := testComplete(start)
	for b.Loop() {
		w, err := trace.Open(path, trace.AppendOptions{})
		must(b, err)
		must(b, w.Write(start))
		must(b, w.Write(complete))
		must(b, w.Close())
	}
}

func BenchmarkNewSpanID(b *testing.B) {
	for b.Loop() {
		trace.NewSpanID()
	}
}

func BenchmarkDecode(b *testing.B) {
	line := trace.AppendJSON(nil, testComplete(testStart("make test")))
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := trace.Decode(line); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFind searches for the last and for the first span of a trace of 20,000 lines.
func BenchmarkFind(b *testing.B) {
	path := filepath.Join(b.TempDir(), "trace.jsonl")
	w, err := trace.Open(path, trace.AppendOptions{})
	must(b, err)
	first := ""
	for range 10_000 {
		start := testStart("make test")
		if first == "" {
			first = start.SpanID
		}
		must(b, w.Write(start))
		must(b, w.Write(testComplete(start)))
	}
	must(b, w.Close())
	for _, ref := range []string{"last", first} {
		b.Run(ref[:4], func(b *testing.B) {
			for b.Loop() {
				_, err := trace.Find(path, ref)
				must(b, err)
			}
		})
	}
}
