package capture

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"substrate/internal/record"
)

// TestMain is also the process that drains.
func TestMain(m *testing.M) {
	if os.Args[0] == DrainName {
		os.Exit(Drain())
	}
	os.Exit(m.Run())
}

// captured runs a script behind a tap, with its output in files, and returns their names.
func captured(t *testing.T, keep int64, script string) (stdout, stderr record.Output, outFile, errFile string) {
	t.Helper()
	dir := t.TempDir()
	outFile, errFile = filepath.Join(dir, "out"), filepath.Join(dir, "err")
	stdout, stderr = behind(t, create(t, outFile), create(t, errFile), keep, script)
	return stdout, stderr, outFile, errFile
}

func create(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// behind runs a script behind a tap.
func behind(t *testing.T, out, errs *os.File, keep int64, script string) (stdout, stderr record.Output) {
	t.Helper()
	tap, err := New(out, errs, keep)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/bash", "-c", script)
	outEnd, errEnd := tap.Files()
	if outEnd != nil {
		cmd.Stdout = outEnd
	}
	if errEnd != nil {
		cmd.Stderr = errEnd
	}
	if err := cmd.Run(); err != nil {
		t.Logf("%s: %v", script, err)
	}
	for _, f := range []*os.File{outEnd, errEnd} {
		if f != nil {
			f.Close()
		}
	}
	stdout, stderr, err = tap.Finish()
	if err != nil {
		t.Errorf("Finish: %v", err)
	}
	return stdout, stderr
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCapture(t *testing.T) { // REC7
	for _, c := range []struct{ script, out, err string }{
		{"", "", ""},
		{`printf 'a\0\377b'; printf e >&2`, "a\x00\xffb", "e"},
		{`echo no end; exit 3`, "no end\n", ""},
		{`for i in {1..2000}; do echo $i; echo e$i >&2; done`, numbers(""), numbers("e")},
		{`head -c 3000000 /dev/zero`, strings.Repeat("\x00", 3000000), ""},
	} {
		const keep = 1000
		stdout, stderr, outFile, errFile := captured(t, keep, c.script)
		for _, s := range []struct {
			got  record.Output
			file string
			want string
		}{{stdout, outFile, c.out}, {stderr, errFile, c.err}} {
			if text := read(t, s.file); string(text) != s.want {
				t.Errorf("%q passed on %d bytes, want %d", c.script, len(text), len(s.want))
			}
			want := record.Output{SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte(s.want))), Bytes: int64(len(s.want)), Truncated: len(s.want) > keep}
			head := s.got.Head
			if s.got.Head = nil; s.got.SHA256 != want.SHA256 || s.got.Bytes != want.Bytes || s.got.Truncated != want.Truncated {
				t.Errorf("%q: %+v, want %+v", c.script, s.got, want)
			}
			if string(head) != s.want[:min(keep, len(s.want))] {
				t.Errorf("%q: kept %d bytes that are not the first", c.script, len(head))
			}
		}
	}
}

func numbers(prefix string) string {
	var b strings.Builder
	for i := 1; i <= 2000; i++ {
		fmt.Fprintln(&b, prefix+fmt.Sprint(i))
	}
	return b.String()
}

// We do not wait for a process in the background, and do not kill it; what it prints arrives.
func TestBackground(t *testing.T) { // REC7
	dir := t.TempDir()
	fifo, late := filepath.Join(dir, "fifo"), filepath.Join(dir, "late")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, _ := behind(t, w, nil, 100, "{ read x < "+fifo+"; echo late $x; echo done > "+late+"; } & echo now")
	w.Close()
	if string(stdout.Head) != "now\n" { // it waits for the fifo, so it has printed nothing
		t.Errorf("captured %q, want now", stdout.Head)
	}
	if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r) // ends when the process that drains has ended
	if err != nil || string(text) != "now\nlate go\n" {
		t.Errorf("passed on %q, %v", text, err)
	}
	if got := read(t, late); string(got) != "done\n" {
		t.Errorf("the process in the background came to %q", got)
	}
}

func TestBackgroundOfStandardErrorAlone(t *testing.T) { // REC7
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out := create(t, filepath.Join(t.TempDir(), "out"))
	behind(t, out, w, 100, "{ read x < "+fifo+"; echo late >&2; } > /dev/null & echo now")
	w.Close()
	if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != "late\n" {
		t.Errorf("passed on %q, %v", text, err)
	}
	if text := read(t, out.Name()); string(text) != "now\n" {
		t.Errorf("passed on %q", text)
	}
}

// A process that prints for ever ends as it would without us: when nobody reads any more.
func TestBackgroundForEver(t *testing.T) { // REC7
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	status := filepath.Join(t.TempDir(), "status")
	if err := syscall.Mkfifo(status, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.CopyN(io.Discard, r, 10<<20) // more than all pipes hold
		r.Close()
	}()
	stdout, _ := behind(t, w, nil, 100, "{ (trap - PIPE; exec yes) 2> /dev/null; echo $? > "+status+"; } & read -t 0.1 < /dev/zero; exit 0")
	w.Close()
	if got := read(t, status); stdout.Bytes == 0 || string(got) != "141\n" && string(got) != "1\n" { // 1 if SIGPIPE was ignored from the start
		t.Errorf("after %d bytes yes ended with %q", stdout.Bytes, got)
	}
}

func TestNobodyReads(t *testing.T) { // REC7: as without us
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	status := filepath.Join(t.TempDir(), "status")
	behind(t, w, nil, 100, "yes 2> /dev/null; echo $? > "+status)
	if got := read(t, status); string(got) != "141\n" && string(got) != "1\n" {
		t.Errorf("yes ended with %q, want 141", got)
	}
}

func TestTargetThatDoesNotBlock(t *testing.T) { // REC7
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(fds[1]), "w")
	got := make(chan []byte)
	go func() {
		text, _ := io.ReadAll(os.NewFile(uintptr(fds[0]), "r"))
		got <- text
	}()
	if err := syscall.SetNonblock(fds[1], true); err != nil {
		t.Fatal(err)
	}
	stdout, _ := behind(t, w, nil, 0, "head -c 5000000 /dev/zero")
	w.Close()
	if text := <-got; len(text) != 5000000 || stdout.Bytes != 5000000 || !bytes.Equal(text, make([]byte, 5000000)) {
		t.Errorf("passed on %d bytes, noted %d", len(text), stdout.Bytes)
	}
}

func TestAround(t *testing.T) { // REC7: the pipes are in place only while the command is started
	before := [2]syscall.Stat_t{}
	for i := range before {
		if err := syscall.Fstat(1+i, &before[i]); err != nil {
			t.Fatal(err)
		}
	}
	const list = "echo /proc/self/fd/*" // no pipeline, whose descriptors come and go
	want, err := exec.Command("/bin/bash", "-c", list).Output()
	if err != nil {
		t.Fatal(err)
	}
	tap, err := New(os.Stdout, os.Stderr, 100)
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	err = tap.Around(func() (err error) {
		pid, err = syscall.ForkExec("/bin/bash", []string{"bash", "-c", list}, &syscall.ProcAttr{Files: []uintptr{0, 1, 2}, Env: os.Environ()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
	stdout, _, err := tap.Finish()
	if len(stdout.Head) == 0 || len(stdout.Head) > len(want) || err != nil {
		t.Errorf("the command has the descriptors %q, want no more than %q, %v", stdout.Head, want, err)
	}
	for i := range before {
		var after syscall.Stat_t
		if err := syscall.Fstat(1+i, &after); err != nil || after.Ino != before[i].Ino {
			t.Errorf("descriptor %d is another file now, %v", 1+i, err)
		}
	}
}
