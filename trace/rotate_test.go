//go:build linux || darwin

package trace_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"substrate/trace"
)

// numberOfFiles counts the trace and its rotated files.
func numberOfFiles(t *testing.T, path string) int {
	t.Helper()
	names, err := filepath.Glob(path + "*")
	must(t, err)
	return len(names)
}

// TRC2, TRC3: 16 writers rotate the trace more than 50 times. Each line is there once and whole,
// and a reader never sees fewer lines than before.
func TestParallelWritersRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	t.Setenv("TRACE_TEST_MAX", fmt.Sprint(1<<19))
	wait := startWriters(t, path)
	var stop atomic.Bool
	looks := make(chan int)
	go func() {
		seen, n := 0, 0
		for ; !stop.Load(); n++ {
			lines := 0
			err := trace.Scan(path, func(*trace.Record) error { lines++; return nil })
			if err != nil && !errors.Is(err, os.ErrNotExist) || lines < seen {
				t.Errorf("a reader saw %d lines after %d: %v", lines, seen, err)
			}
			seen = lines
		}
		looks <- n
	}()
	wait()
	stop.Store(true)
	t.Logf("read %d times meanwhile", <-looks)
	checkAllThere(t, path)
	files := numberOfFiles(t, path)
	if files <= 50 {
		t.Errorf("%d files, want more than 50 rotations", files)
	}
	for n := 1; n < files; n++ {
		name := fmt.Sprintf("%s.%d", path, n)
		if st, err := os.Stat(name); err != nil || st.Size() < 1<<19 || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, want a full file of mode 0600 (%v)", name, st, err)
		}
		readLines(t, name)
	}
}

// TRC3: Keep files are kept, the newest with the lowest number, and a smaller Keep takes effect at
// once.
func TestRotationKeeps(t *testing.T) {
	for _, keep := range []int{0, 1, 3} {
		t.Run(fmt.Sprint(keep), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "trace.jsonl")
			for _, n := range []string{"5", "7"} {
				writeTrace(t, path+"."+n, testStart("old"))
			}
			writeTrace(t, path+".bak", testStart("a file of somebody else"))
			w, err := trace.Open(path, trace.AppendOptions{MaxBytes: 1, Keep: keep})
			must(t, err)
			for i := range 6 {
				must(t, w.Write(testStart(fmt.Sprint(i))))
			}
			must(t, w.Close())
			if files := numberOfFiles(t, path); files != keep+2 {
				t.Errorf("%d files, want %d, the trace and the other file", files, keep+2)
			}
			for n := range keep + 1 {
				name := path
				if n > 0 {
					name += fmt.Sprintf(".%d", n)
				}
				if lines := readLines(t, name); len(lines) != 1 || !strings.Contains(lines[0], fmt.Sprintf(`"cmd":"%d"`, 5-n)) {
					t.Errorf("%s = %q, want the line of command %d", name, lines, 5-n)
				}
			}
		})
	}
}

// TRC3: a writer does not rotate below the limit, without a limit, or with a negative one.
func TestNoRotation(t *testing.T) {
	for _, limit := range []int64{0, -1, 1 << 40} {
		path := filepath.Join(t.TempDir(), "trace.jsonl")
		for range 3 {
			must(t, trace.Append(path, testStart("x"), trace.AppendOptions{MaxBytes: limit, Keep: 3}))
		}
		if files := numberOfFiles(t, path); files != 1 {
			t.Errorf("limit %d: %d files, want 1", limit, files)
		}
	}
}

// TRC3: a link to a trace stays one; the rotated files lie beside the real file.
func TestRotationThroughLink(t *testing.T) {
	dir := t.TempDir()
	link, real := filepath.Join(dir, "link"), filepath.Join(dir, "sub", "trace.jsonl")
	must(t, os.Mkdir(filepath.Dir(real), 0o700))
	must(t, os.Symlink(real, link))
	for i := range 3 {
		must(t, trace.Append(link, testStart(fmt.Sprint(i)), trace.AppendOptions{MaxBytes: 1, Keep: 3}))
	}
	if target, err := os.Readlink(link); err != nil || target != real {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	if files := numberOfFiles(t, real); files != 3 {
		t.Errorf("%d files beside the real one, want 3", files)
	}
	n := 0
	must(t, trace.Scan(link, func(*trace.Record) error { n++; return nil }))
	if n != 3 {
		t.Errorf("%d lines through the link, want 3", n)
	}
}

// TRC3, REC9: if a file cannot be rotated the line is still written, and the writer reports why.
func TestRotationRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	writeTrace(t, path, testStart("full"))
	must(t, os.MkdirAll(filepath.Join(path+".1", "in the way"), 0o700))
	var reasons []error
	opt := trace.AppendOptions{MaxBytes: 1, Keep: 3, Warn: func(err error) { reasons = append(reasons, err) }}
	must(t, trace.Append(path, testStart("more"), opt))
	if lines := readLines(t, path); len(lines) != 2 || len(reasons) != 1 {
		t.Errorf("%d lines and %v, want both lines and one reason", len(lines), reasons)
	}
	must(t, os.RemoveAll(path+".1"))
	must(t, trace.Append(path, testStart("fresh"), opt))
	if lines := readLines(t, path); len(lines) != 1 || len(reasons) != 1 {
		t.Errorf("%d lines and %v, want a fresh file", len(lines), reasons)
	}
}

// TRC3: a writer does not wait to rotate a full file that others keep busy; it writes to it.
func TestRotationOfBusyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	writeTrace(t, path, testStart("full"))
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_SH))
	opt := trace.AppendOptions{MaxBytes: 1, Keep: 3, Warn: func(err error) { t.Error(err) }}
	must(t, trace.Append(path, testStart("more"), opt))
	if lines := readLines(t, path); len(lines) != 2 {
		t.Errorf("%d lines, want both in the busy file", len(lines))
	}
}

// TRC3: a rotation that is interrupted between two steps loses nothing, and the next one completes
// it.
func TestInterruptedRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	writeTrace(t, path+".2", testStart("1")) // path.1 has been moved, path not yet
	writeTrace(t, path, testStart("2"))
	must(t, trace.Append(path, testStart("3"), trace.AppendOptions{MaxBytes: 1, Keep: 3}))
	var cmds []string
	must(t, trace.Scan(path, func(r *trace.Record) error { cmds = append(cmds, r.Cmd); return nil }))
	if fmt.Sprint(cmds) != "[1 2 3]" || numberOfFiles(t, path) != 3 {
		t.Errorf("commands %v in %d files, want 1, 2, 3 in 3", cmds, numberOfFiles(t, path))
	}
}

// WLD1: Beside names the files of a trace, which worlds must not see.
func TestBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	for _, name := range []string{"", ".1", ".12", ".1.idx", ".bak", ".01"} {
		must(t, os.WriteFile(path+name, nil, 0o600))
	}
	got := strings.ReplaceAll(fmt.Sprint(trace.Beside(path)), path, "")
	if want := "[.1 .1.idx .12]"; got != want {
		t.Errorf("Beside = %s, want %s", got, want)
	}
	if got := trace.Beside(path + "/no/such"); len(got) != 0 {
		t.Errorf("Beside without a directory = %v", got)
	}
}
