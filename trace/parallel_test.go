//go:build linux || darwin

package trace_test

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"substrate/trace"
)

const (
	writers        = 16
	linesPerWriter = 150
)

// TestMain is also the program that the tests below start several times.
func TestMain(m *testing.M) {
	if path := os.Getenv("TRACE_TEST_WRITER"); path != "" {
		if err := writeMany(path, os.Getenv("TRACE_TEST_NAME")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// writeMany writes lines of very different lengths, and sometimes opens the file anew.
func writeMany(path, name string) error {
	limit, _ := strconv.ParseInt(os.Getenv("TRACE_TEST_MAX"), 10, 64) // 0 without one
	w, err := trace.Open(path, trace.AppendOptions{MaxBytes: limit, Keep: 10_000})
	if err != nil {
		return err
	}
	for i := range linesPerWriter {
		cmd := fmt.Sprintf("%s %d %s", name, i, strings.Repeat(name[:1], 1<<(i%18)))
		start := testStart(cmd)
		if err := w.Write(start); err != nil {
			return err
		}
		if os.Getenv("TRACE_TEST_PAIRS") != "" {
			if err := w.Write(testComplete(start)); err != nil {
				return err
			}
		}
		if os.Getenv("TRACE_TEST_REPORT") != "" {
			fmt.Println(name, i)
		}
		if i%10 == 9 {
			if err := w.Close(); err != nil {
				return err
			}
		}
	}
	return w.Close()
}

// startWriters starts the processes and returns a function that waits for them.
func startWriters(t *testing.T, path string) (wait func()) {
	t.Helper()
	var all []*exec.Cmd
	for i := range writers {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "TRACE_TEST_WRITER="+path, "TRACE_TEST_NAME="+string(rune('a'+i)))
		cmd.Stderr = os.Stderr
		must(t, cmd.Start())
		all = append(all, cmd)
	}
	return func() {
		for _, cmd := range all {
			if err := cmd.Wait(); err != nil {
				t.Errorf("writer: %v", err)
			}
		}
	}
}

// checkAllThere checks that each line of each writer is there exactly once, and none mixed or torn.
func checkAllThere(t *testing.T, path string) {
	t.Helper()
	seen := make(map[string]int)
	r := trace.Reader{Path: path, Warn: func(w trace.Warning) { t.Errorf("%s", w) }}
	must(t, r.Scan(func(r *trace.Record) error {
		words := strings.Fields(r.Cmd)
		i, err := strconv.Atoi(words[1])
		if err != nil || words[2] != strings.Repeat(words[0], 1<<(i%18)) {
			t.Errorf("mixed line: %.80s", r.Cmd)
		}
		seen[words[0]+words[1]]++
		return nil
	}))
	if len(seen) != writers*linesPerWriter {
		t.Errorf("%d different lines, want %d", len(seen), writers*linesPerWriter)
	}
	for name, n := range seen {
		if n != 1 {
			t.Errorf("line %s is there %d times", name, n)
		}
	}
}

// TRC2: lines of parallel writers never mix, and none is blank.
func TestParallelWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "trace.jsonl")
	startWriters(t, path)()
	checkAllThere(t, path)
	for i, line := range readLines(t, path) {
		if line == "" {
			t.Errorf("line %d is blank", i+1)
		}
	}
}

// TRC2: no line is lost if the file is rotated meanwhile, whether the rotated file is kept, or
// copied and removed as a compaction does, under the exclusive lock.
func TestParallelWritersAndRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	stop, done := make(chan bool), make(chan int)
	go func() {
		n := 1
		for ; ; n++ {
			select {
			case <-stop:
				done <- n
				return
			case <-time.After(3 * time.Millisecond):
				if err := rotate(path, fmt.Sprintf("%s.%d", path, 1000-n), n%2 == 0); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	startWriters(t, path)()
	close(stop)
	t.Logf("rotated %d times", <-done-1)
	checkAllThere(t, path)
}

// rotate moves the file away under the exclusive lock, or replaces it by a copy.
func rotate(path, to string, byCopy bool) error {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	if !byCopy {
		return os.Rename(path, to)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// TRC2: writers are killed at random moments, also in the middle of a rotation. Each line that was
// reported as written is there once, and none is mixed. There is at most one torn line for each
// killed writer.
func TestKilledWriters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	t.Setenv("TRACE_TEST_MAX", fmt.Sprint(1<<17))
	t.Setenv("TRACE_TEST_REPORT", "1")
	reported := make(chan []string)
	for i := range writers {
		go func() {
			name := string(rune('a' + i))
			var lines []string
			for kill := range 2 {
				lines = append(lines, killWriter(t, path, fmt.Sprintf("%s%d", name, kill), rand.IntN(linesPerWriter))...)
			}
			reported <- lines
		}()
	}
	want := make(map[string]int)
	for range writers {
		for _, line := range <-reported {
			want[line]++
		}
	}
	torn := 0
	seen := make(map[string]int)
	r := trace.Reader{Path: path, Warn: func(trace.Warning) { torn++ }}
	must(t, r.Scan(func(r *trace.Record) error {
		words := strings.Fields(r.Cmd)
		seen[words[0]+" "+words[1]]++
		return nil
	}))
	for line := range want {
		if seen[line] != 1 {
			t.Errorf("line %s was reported as written and is there %d times", line, seen[line])
		}
	}
	if extra := len(seen) - len(want); extra > 2*writers || torn > 2*writers {
		t.Errorf("%d lines that nobody reported and %d torn ones after %d kills", extra, torn, 2*writers)
	}
	t.Logf("%d lines reported, %d there, %d torn, %d files", len(want), len(seen), torn, numberOfFiles(t, path))
}

// killWriter kills a writer after it has reported a number of lines, and returns all that it
// reported.
func killWriter(t *testing.T, path, name string, after int) (lines []string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TRACE_TEST_WRITER="+path, "TRACE_TEST_NAME="+name)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	for scan := bufio.NewScanner(out); scan.Scan(); {
		if lines = append(lines, scan.Text()); len(lines) == after+1 {
			_ = cmd.Process.Kill() // it may have come to its end
		}
	}
	_ = cmd.Wait() // killed, or not
	return lines
}

// A locked trace must not hang a command for ever.
func TestWriteToLockedTrace(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("waits for five seconds")
	}
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	must(t, os.WriteFile(path, nil, 0o600))
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	began := time.Now()
	err = trace.Append(path, testStart("x"), trace.AppendOptions{})
	if took := time.Since(began); !errors.Is(err, trace.ErrLocked) || took > 20*time.Second {
		t.Errorf("Append = %v after %v, want ErrLocked after 5 s", err, took)
	}
}
