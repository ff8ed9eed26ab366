//go:build linux || darwin

package trace_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"substrate/trace"
)

func compact(t *testing.T, path string, opt trace.CompactOptions) []trace.Compacted {
	t.Helper()
	done, err := trace.Compact(context.Background(), path, opt)
	must(t, err)
	return done
}

// TRC8: Compact drops start lines that have a complete line, torn lines and old ones. Everything
// else stays byte for byte.
func TestCompact(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "trace.jsonl")
	a, b, c, old := testStart("a"), testStart("b"), testStart("c"), testStart("old")
	old.TS = "2020-01-01T00:00:00.000000000Z"
	old.TraceSchemaVersion = 1
	oldLine := string(trace.AppendJSON(nil, old)) + "\n"
	oldEnd := testComplete(old)
	oldEnd.TS = old.TS
	keep := []any{"\n", "plain text\n", `{"cmd":"foreign", "exit":1 }` + "\n", `{"event_type":"command_start"}` + "\n", `["x"]` + "\n"}
	rotated := append([]any{oldLine, string(trace.AppendJSON(nil, oldEnd)) + "\n", a, b}, keep...)
	writeTrace(t, path+".1", rotated...)
	writeTrace(t, path, testComplete(b), `{"cmd":"to`+"\n", c, testComplete(a), `{"event_type":"command_start", "span_id":"x"}`+"\n", `{"span_id":"x","event_type":"command_complete"}`+"\n", `{"cmd":"torn`)
	must(t, os.Chmod(path+".1", 0o640))
	before, err := os.ReadFile(path)
	must(t, err)
	dry := compact(t, path, trace.CompactOptions{DryRun: true, Before: testTime})
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("a dry run changed the file: %v", err)
	}
	done := compact(t, path, trace.CompactOptions{Before: testTime})
	if diff := cmp.Diff(dry, done); diff != "" {
		t.Errorf("dry run and run differ:\n%s", diff)
	}
	wantFile(t, path+".1", keep...)
	wantFile(t, path, testComplete(b), c, testComplete(a), `{"span_id":"x","event_type":"command_complete"}`+"\n", `{"cmd":"torn`)
	for i, want := range [][4]int{{6, 1, 1, 0}, {9, 2, 0, 2}} {
		got := [4]int{done[i].LinesBefore, done[i].Started, done[i].Torn, done[i].Old}
		if st, err := os.Stat(done[i].File); got != want || err != nil || st.Size() != done[i].BytesAfter {
			t.Errorf("%+v, want lines and dropped %v (%v)", done[i], want, err)
		}
	}
	if st, err := os.Stat(path + ".1"); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, want that of the old file (%v)", st.Mode(), err)
	}
	for _, c := range compact(t, path, trace.CompactOptions{Before: testTime}) {
		if c.Dropped() != 0 {
			t.Errorf("a second run dropped %+v", c)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 2 {
		t.Errorf("left %v, %v", names, err)
	}
}

// wantFile compares a file with lines in the form of writeTrace.
func wantFile(t *testing.T, path string, lines ...any) {
	t.Helper()
	want := filepath.Join(t.TempDir(), "want")
	writeTrace(t, want, lines...)
	a, errA := os.ReadFile(want)
	b, errB := os.ReadFile(path)
	if diff := cmp.Diff(string(a), string(b)); diff != "" || errA != nil || errB != nil {
		t.Errorf("%s (-want +got):\n%s%v %v", path, diff, errA, errB)
	}
}

// TRC8, TRC2: 16 writers write and rotate while the trace is compacted again and again. No complete
// line is lost, doubled or torn.
func TestCompactWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	t.Setenv("TRACE_TEST_PAIRS", "1")
	t.Setenv("TRACE_TEST_MAX", fmt.Sprint(2<<20))
	wait := startWriters(t, path)
	var stop atomic.Bool
	finished := make(chan [2]int)
	go func() {
		var n [2]int
		for !stop.Load() || n[0] == 0 {
			switch _, err := trace.Compact(context.Background(), path, trace.CompactOptions{}); {
			case errors.Is(err, trace.ErrBusy):
				n[1]++
			case err == nil:
				n[0]++
			case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, trace.ErrLocked):
				t.Error(err)
				n[0]++ // to come to an end
				stop.Store(true)
			}
		}
		finished <- n
	}()
	wait()
	stop.Store(true)
	n := <-finished
	t.Logf("%d compactions", n[0])
	if n[0] == 0 || n[1] > 0 {
		t.Errorf("%d compactions were done and %d not", n[0], n[1])
	}
	compact(t, path, trace.CompactOptions{})
	seen := make(map[string]int)
	r := trace.Reader{Path: path, Warn: func(w trace.Warning) { t.Error(w) }}
	must(t, r.Scan(func(r *trace.Record) error {
		if r.Completion == nil {
			t.Errorf("a start line is left: %.60s", r.Cmd)
		}
		words := strings.Fields(r.Cmd)
		seen[words[0]+words[1]]++
		return nil
	}))
	if len(seen) != writers*linesPerWriter {
		t.Errorf("%d complete lines, want %d", len(seen), writers*linesPerWriter)
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", name, n)
		}
	}
	if left, err := filepath.Glob(path + "*compact*"); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TRC8: a compaction that fails changes nothing.
func TestCompactRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	a := testStart("a")
	writeTrace(t, path, a, testComplete(a))
	writeTrace(t, path+".1", a, testComplete(a))
	stale := path + ".compact-123"
	writeTrace(t, stale, a)
	if _, err := trace.Compact(context.Background(), path+".1", trace.CompactOptions{}); !errors.Is(err, trace.ErrRotated) {
		t.Errorf("Compact of a rotated file = %v, want ErrRotated", err)
	}
	if _, err := trace.Compact(context.Background(), path+"x", trace.CompactOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Compact of nothing = %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := trace.Compact(ctx, path, trace.CompactOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Compact that was cancelled = %v", err)
	}
	if n := len(readLines(t, path)); n != 2 {
		t.Errorf("%d lines, want both", n)
	}
	if left, err := filepath.Glob(path + ".compact*"); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v; what a killed one left should go too", left, err)
	}
}

// TRC8: a writer that has the file open continues in the new one.
func TestWriterFollowsCompaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	w, err := trace.Open(path, trace.AppendOptions{})
	must(t, err)
	defer w.Close()
	a := testStart("a")
	must(t, w.Write(a))
	must(t, w.Write(testComplete(a)))
	compact(t, path, trace.CompactOptions{Before: time.Time{}})
	must(t, w.Write(testStart("b")))
	if lines := readLines(t, path); len(lines) != 2 || !strings.Contains(lines[1], `"cmd":"b"`) {
		t.Errorf("%q, want the end of a and the beginning of b", lines)
	}
}
