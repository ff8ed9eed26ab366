//go:build unix

package trace_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"substrate/trace"
)

// TRC1: directory 0700 and file 0600, whatever the umask.
func TestOpenModes(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o777} {
		t.Run(fmt.Sprintf("%03o", umask), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			path := filepath.Join(dir, "trace.jsonl")
			old := syscall.Umask(umask)
			err := trace.Append(path, testStart("true"), trace.AppendOptions{Fsync: true})
			syscall.Umask(old)
			if err != nil {
				t.Fatal(err)
			}
			for p, want := range map[string]fs.FileMode{dir: 0o700, filepath.Dir(dir): 0o700, path: 0o600} {
				if st, err := os.Stat(p); err != nil || st.Mode().Perm() != want {
					t.Errorf("mode of %s = %v (%v), want %v", p, st.Mode().Perm(), err, want)
				}
			}
		})
	}
}

// TRC1, REC9: anything but a file gives an error at once; a symbolic link to a file is allowed.
func TestAppendToOddPlaces(t *testing.T) {
	dir := t.TempDir()
	fifo, sub, link, dangling := filepath.Join(dir, "fifo"), filepath.Join(dir, "dir"), filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	must(t, syscall.Mkfifo(fifo, 0o600))
	must(t, os.Mkdir(sub, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "real"), nil, 0o600))
	must(t, os.Symlink("real", link))
	must(t, os.Symlink("new", dangling))
	for _, path := range []string{fifo, sub, "/dev/null", "/dev/full"} {
		if err := trace.Append(path, testStart("true"), trace.AppendOptions{}); !errors.Is(err, trace.ErrNotRegular) {
			t.Errorf("Append(%q) = %v, want trace.ErrNotRegular", path, err)
		}
	}
	for _, path := range []string{link, dangling} {
		if err := trace.Append(path, testStart("true"), trace.AppendOptions{}); err != nil {
			t.Errorf("Append(%q) = %v", path, err)
		}
	}
	for _, name := range []string{"real", "new"} {
		if n := len(readLines(t, filepath.Join(dir, name))); n != 1 {
			t.Errorf("%s has %d lines, want 1", name, n)
		}
	}
	if err := trace.Append(filepath.Join(dir, "real", "trace.jsonl"), testStart("true"), trace.AppendOptions{}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Append below a file = %v, want ENOTDIR", err)
	}
}

// A reader never waits for a named pipe either.
func TestFindInOddPlaces(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	for _, path := range []string{fifo, dir, "/dev/zero"} {
		if _, err := trace.Find(path, "last"); !errors.Is(err, trace.ErrNotRegular) {
			t.Errorf("Find in %s = %v, want ErrNotRegular", path, err)
		}
	}
}
