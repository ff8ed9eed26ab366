package netns_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"substrate/internal/world/net/netns"
	"substrate/internal/world/net/netns/netnstest"

	"golang.org/x/sys/unix"
)

const ours = netns.Prefix + "spn_0123"

// emptyRun mounts an empty /run over that of the host.
func emptyRun(t *testing.T) {
	t.Helper()
	if err := unix.Mount("none", "/run", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
}

// sleeper starts a process in a network namespace of its own.
func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // it may be gone
		cmd.Wait()         //nolint:errcheck // it was killed
	})
	return cmd
}

// namespaceOf opens the network namespace of a process.
func namespaceOf(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "ns/net"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() }) //nolint:errcheck // nothing was written
	return int(f.Fd())
}

// TestBind proves the named namespace of WLD6: ip-netns(8) lists it and enters it.
func TestBind(t *testing.T) {
	netnstest.Root(t, func(t *testing.T) {
		emptyRun(t)
		cmd := sleeper(t)
		if err := netns.Bind(namespaceOf(t, cmd), ours); err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(run(t, "ip", "netns", "list")); len(got) == 0 || got[0] != ours {
			t.Errorf("ip netns list: %q, want %s", got, ours)
		}
		want, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "ns/net"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(run(t, "ip", "netns", "exec", ours, "readlink", "/proc/self/ns/net")); got != want {
			t.Errorf("ip netns exec enters %s, want %s", got, want)
		}
		if err := netns.Bind(namespaceOf(t, cmd), ours); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Bind of a name that is taken: %v, want ErrExist", err)
		}
		for range 2 { // the second time there is nothing
			if err := netns.Unbind(ours); err != nil {
				t.Errorf("Unbind: %v", err)
			}
			wantNothing(t)
		}
	})
}

func wantNothing(t *testing.T) {
	t.Helper()
	if names, err := os.ReadDir(netns.Dir); err != nil || len(names) != 0 {
		t.Errorf("%s holds %v, %v, want nothing", netns.Dir, names, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), netns.Dir+"/"+ours+" ") { // the host may have worlds
		t.Errorf("mounts are left (%v):\n%s", err, mounts)
	}
}

// TestUnbindInterrupted proves that Unbind removes what an interrupted Bind left, whenever that
// was.
func TestUnbindInterrupted(t *testing.T) {
	netnstest.Root(t, func(t *testing.T) {
		emptyRun(t)
		if err := netns.Unbind(ours); err != nil {
			t.Errorf("Unbind without %s: %v", netns.Dir, err)
		}
		if err := netns.Bind(1<<30, ours); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Bind of no descriptor: %v, want ErrNotExist", err)
		}
		wantNothing(t)
		path := filepath.Join(netns.Dir, ours)
		if err := os.WriteFile(path, nil, 0); err != nil { // killed before the mount
			t.Fatal(err)
		}
		if err := netns.Unbind(ours); err != nil {
			t.Errorf("Unbind of a bare file: %v", err)
		}
		wantNothing(t)
		cmd := sleeper(t)
		if err := netns.Bind(namespaceOf(t, cmd), ours); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("/proc/self/ns/net", path, "", unix.MS_BIND, ""); err != nil { // mounted twice
			t.Fatal(err)
		}
		if err := netns.Unbind(ours); err != nil {
			t.Errorf("Unbind of two mounts: %v", err)
		}
		wantNothing(t)
	})
}

// TestUnbindForeign proves that Unbind leaves files alone that Bind did not make.
func TestUnbindForeign(t *testing.T) {
	netnstest.Root(t, func(t *testing.T) {
		emptyRun(t)
		if err := os.Mkdir(netns.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(netns.Dir, ours)
		victim := filepath.Join(t.TempDir(), "victim")
		if err := os.WriteFile(victim, nil, 0); err != nil {
			t.Fatal(err)
		}
		plant := map[string]func() error{
			"file with content": func() error { return os.WriteFile(path, []byte("x"), 0) },
			"readable file":     func() error { return os.WriteFile(path, nil, 0o600) },
			"symlink":           func() error { return os.Symlink(victim, path) },
			"symlink to a namespace": func() error {
				return os.Symlink("/proc/self/ns/net", path)
			},
			"directory": func() error { return os.Mkdir(path, 0o755) },
			"other mount": func() error {
				if err := os.Mkdir(path, 0o755); err != nil {
					return err
				}
				return unix.Mount("none", path, "tmpfs", 0, "")
			},
		}
		for name, put := range plant {
			if err := put(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := netns.Unbind(ours); !errors.Is(err, netns.ErrForeign) {
				t.Errorf("%s: Unbind: %v, want ErrForeign", name, err)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("%s is gone: %v", name, err)
			}
			if name == "other mount" {
				if err := unix.Unmount(path, 0); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Lstat(victim); err != nil {
			t.Error(err)
		}
	})
}

func TestNames(t *testing.T) {
	for _, name := range []string{
		"", "x", "substrate-", "substrate-../../etc", "substrate-a/b", "substrate-a.b", "substrate-é", "substrate-a\n",
		"substrate-" + strings.Repeat("x", 71),
	} {
		if err := netns.Bind(0, name); !errors.Is(err, netns.ErrName) {
			t.Errorf("Bind(%q): %v, want ErrName", name, err)
		}
		if err := netns.Unbind(name); !errors.Is(err, netns.ErrName) {
			t.Errorf("Unbind(%q): %v, want ErrName", name, err)
		}
	}
}
