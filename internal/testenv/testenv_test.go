package testenv_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

// mountsTmpfs proves that the caller may mount, in a namespace that is not the host's.
func mountsTmpfs(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	if os.Getpid() != 1 {
		t.Errorf("pid %d, want 1 in a pid namespace", os.Getpid())
	}
}

// PKG2: the same command runs tests as root and as an ordinary user.
func TestInRoot(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		mountsTmpfs(t)
		if os.Getuid() != 0 {
			t.Errorf("uid %d, want 0", os.Getuid())
		}
	})
}

func TestInUserns(t *testing.T) {
	testenv.InUserns(t, func(t *testing.T) {
		mountsTmpfs(t)
		if os.Getuid() == 0 {
			t.Error("uid 0, want an ordinary user's")
		}
		uidMap, err := os.ReadFile("/proc/self/uid_map")
		if err != nil || len(strings.Fields(string(uidMap))) != 3 || strings.Fields(string(uidMap))[2] != "1" {
			t.Errorf("uid_map = %q, %v, want one mapped id", uidMap, err)
		}
	})
}

func TestAsUser(t *testing.T) {
	testenv.AsUser(t, func(t *testing.T) {
		if os.Getuid() == 0 {
			t.Error("uid 0, want an ordinary user's")
		}
		if err := os.WriteFile(os.Getenv("HOME")+"/x", nil, 0o600); err != nil {
			t.Errorf("write to HOME: %v", err)
		}
		if err := unix.Mount("tmpfs", os.Getenv("HOME"), "tmpfs", 0, ""); err == nil {
			t.Error("an ordinary user mounted on the host")
		}
	})
}

// A subtest becomes a child of its own.
func TestSubtest(t *testing.T) {
	for _, name := range []string{"a b", "x(y"} {
		t.Run(name, func(t *testing.T) { testenv.InRoot(t, mountsTmpfs) })
	}
}
