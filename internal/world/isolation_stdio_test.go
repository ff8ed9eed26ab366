package world

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// WLD1: a directory is refused as standard input, output or error: it leads around every mount.
func TestIsolationDirectoryAsStdio(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		a.write(a.work+"/f", "precious")
		for _, flags := range []int{unix.O_RDONLY | unix.O_DIRECTORY, unix.O_PATH} {
			for i := range 3 {
				fd, err := unix.Open(a.work, flags|unix.O_CLOEXEC, 0)
				must(t, err)
				dir := os.NewFile(uintptr(fd), a.work)
				cmd := Command{Path: "/bin/sh", Argv: []string{"sh", "-c", "echo bad > /proc/self/fd/" + fmt.Sprint(i) + "/f"}, Dir: "/", Umask: 0o022}
				*[]**os.File{&cmd.Stdin, &cmd.Stdout, &cmd.Stderr}[i] = dir
				w, err := New(a.spec)
				must(t, err)
				if _, err := w.Run(cmd); !errors.Is(err, errLeadsOut) {
					t.Errorf("descriptor %d, flags %#x: %v, want %v", i, flags, err, errLeadsOut)
				}
				must(t, w.Close())
				must(t, dir.Close())
			}
		}
		if got := readText(a.work + "/f"); got != "precious" {
			t.Errorf("the host's file reads %q", got)
		}
	})
}
