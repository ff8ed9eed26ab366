package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Each kind of leak is found while it exists, and not afterwards.
func TestLeaksFinds(t *testing.T) {
	InRoot(t, func(t *testing.T) {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for _, tc := range []struct {
			want string
			leak func(t *testing.T) (undo func())
		}{
			{"mount ", leakMount},
			{"file descriptor ", leakDescriptor},
			{"process ", leakOrphan},
			{"network namespace ", leakOrphan},
			{"file " + dir, func(t *testing.T) func() {
				path := filepath.Join(dir, "x")
				if err := os.WriteFile(path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				return func() { os.Remove(path) }
			}},
		} {
			before := takeSnapshot([]string{dir})
			undo := tc.leak(t)
			left := waitForLeaks(before, []string{dir}, 50*time.Millisecond)
			if !strings.Contains(strings.Join(left, "\n"), tc.want) {
				t.Errorf("leaks = %q, want one that begins %q", left, tc.want)
			}
			undo()
			if left := waitForLeaks(before, []string{dir}, 2*time.Second); len(left) > 0 {
				t.Errorf("after the undo of %q: leaks = %q, want none", tc.want, left)
			}
		}
	})
}

func leakMount(t *testing.T) func() {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	return func() { unix.Unmount(dir, 0) }
}

func leakDescriptor(t *testing.T) func() {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	return func() { f.Close() }
}

// leakOrphan leaves a process whose parent is gone, in a session of its own.
func leakOrphan(t *testing.T) func() {
	out, err := exec.Command("sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	pid := strings.TrimSpace(string(out))
	return func() { exec.Command("kill", "-9", pid).Run() }
}

// A test that cleans up is not blamed.
func TestLeaksQuiet(t *testing.T) {
	Leaks(t)
	leakDescriptor(t)()
	if err := exec.Command("true").Run(); err != nil {
		t.Fatal(err)
	}
}

// A directory with mounts in it is removed without reaching into them.
func TestTempDir(t *testing.T) {
	InRoot(t, func(t *testing.T) {
		source := t.TempDir()
		if err := os.WriteFile(source+"/precious", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		var dir string
		t.Run("mounts", func(t *testing.T) {
			dir = TempDir(t)
			odd := dir + "/a b\n"
			if err := os.Mkdir(odd, 0o700); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := unix.Mount(source, odd, "", unix.MS_BIND, ""); err != nil {
					t.Fatal(err)
				}
			}
		})
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there", dir)
		}
		if _, err := os.Stat(source + "/precious"); err != nil {
			t.Errorf("the clean-up reached into a mount: %v", err)
		}
	})
}
