//go:build linux || darwin

package trace_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"substrate/trace"
)

// BenchmarkLookup searches for a span in the middle of a trace of TRACE_BENCH_MB (32) megabytes:
// with an index that must be made, with an existing one, and as grep and jq do.
func BenchmarkLookup(b *testing.B) {
	path, id := bigTrace(b, benchMB())
	find := func(ref string) {
		if _, err := trace.Find(path, ref); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("index=made", func(b *testing.B) {
		for b.Loop() {
			must(b, removeIf(path+".idx"))
			find(id)
		}
	})
	find(id) // so that there is an index whatever is run
	b.Run("id", func(b *testing.B) {
		for b.Loop() {
			find(id)
		}
	})
	b.Run("prefix", func(b *testing.B) {
		for b.Loop() {
			find(id[4:24])
		}
	})
	b.Run("last", func(b *testing.B) {
		for b.Loop() {
			find("last~2")
		}
	})
	b.Run("grep", func(b *testing.B) { benchProgram(b, "grep", "-F", id, path) })
	b.Run("jq", func(b *testing.B) { benchProgram(b, "jq", "-c", `select(.span_id=="`+id+`")`, path) })
}

func benchMB() int64 {
	if n, err := strconv.ParseInt(os.Getenv("TRACE_BENCH_MB"), 10, 64); err == nil {
		return n
	}
	return 32
}

func benchProgram(b *testing.B, name string, args ...string) {
	if _, err := exec.LookPath(name); err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		if out, err := exec.Command(name, args...).Output(); err != nil || len(out) == 0 {
			b.Fatalf("%s: %v, %d bytes", name, err, len(out))
		}
	}
}

func removeIf(path string) error {
	err := os.Remove(path)
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

// bigTrace writes a trace of mb megabytes and returns the id in its middle.
func bigTrace(b *testing.B, mb int64) (path, id string) {
	path = filepath.Join(b.TempDir(), "trace.jsonl")
	f, err := os.Create(path)
	must(b, err)
	w := bufio.NewWriterSize(f, 1<<20)
	var line []byte
	for written := int64(0); written < mb<<20; {
		start := stamped(testStart("make -j8 test && ./scripts/check --all"))
		for _, r := range []*trace.Record{start, stamped(testComplete(start))} {
			line = append(trace.AppendJSON(line[:0], r), '\n')
			n, err := w.Write(line)
			must(b, err)
			written += int64(n)
		}
		if written < mb<<19 {
			id = start.SpanID
		}
	}
	must(b, w.Flush())
	must(b, f.Close())
	return path, id
}
