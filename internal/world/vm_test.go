package world

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/testenv"
	"substrate/internal/world/tree"
)

// needVM skips the test unless this is the virtual machine, whose settings it may change.
func needVM(t *testing.T) {
	t.Helper()
	testenv.NeedRoot(t)
	if !testenv.InVM() {
		testenv.NeedVM(t, "settings of the whole machine are turned")
	}
}

// setting changes a setting of the kernel until the test ends.
func setting(t *testing.T, path, value string) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(path, old, 0) })
}

// kernelLog is what dmesg shows.
//
// Source: syslog(2), SYSLOG_ACTION_READ_ALL.
func kernelLog(t *testing.T) string {
	t.Helper()
	buf := make([]byte, 1<<20)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// NET2, NET3: with nf_log_all_netns=1 a blocked attempt is in the kernel log, with the name of its
// world; with 0 it is not. It is reported in both cases.
func TestKernelLogLines(t *testing.T) {
	needVM(t)
	for _, value := range []string{"0", "1"} {
		setting(t, "/proc/sys/net/netfilter/nf_log_all_netns", value)
		w, err := New(testSpec(t, t.TempDir()))
		if err != nil {
			t.Fatal(err)
		}
		name := w.Name
		res, err := w.Run(Command{Path: "bash", Argv: []string{"bash", "-c", "echo > /dev/tcp/192.0.2.7/443"}, Dir: "/", Env: []string{"PATH=/usr/bin"}, Umask: 0o22})
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		if len(res.Blocked) != 1 || res.Blocked[0].String() != "192.0.2.7:443/tcp" {
			t.Errorf("nf_log_all_netns=%s: blocked is %v", value, res.Blocked)
		}
		line := strings.Contains(kernelLog(t), "substrate-dropped-"+name+" ")
		if want := value == "1"; line != want {
			t.Errorf("nf_log_all_netns=%s: a line in the kernel log: %v, want %v", value, line, want)
		}
	}
}

// WLD2, WLD3: where the kernel forbids users to make user namespaces, the error names the setting.
func TestUsernsSettings(t *testing.T) {
	if !testenv.InChild() {
		needVM(t)
	}
	for _, s := range []struct{ path, value, remedy string }{
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for substrate that allows userns"},
	} {
		if _, err := os.Stat(s.path); err != nil {
			t.Logf("this kernel has no %s", s.path)
			continue
		}
		t.Run(s.path[strings.LastIndex(s.path, "/")+1:], func(t *testing.T) {
			if os.Getuid() == 0 {
				setting(t, s.path, s.value)
			}
			testenv.In(t, testenv.Host{User: true}, func(t *testing.T) {
				spec := testSpec(t, t.TempDir())
				answers := Ask(Host{Dirs: spec.Dirs})
				if a := answers[0]; a.Strategy != "overlay" || a.OK() || a.Rejected().Remedy != s.remedy {
					t.Errorf("the overlay is %+v, want refused with the remedy %q", a, s.remedy)
				}
			})
		})
	}
}

// WLD7: a user's overlay marks what it hides with user xattrs, which tmpfs has since Linux 6.6. On
// an older kernel no upper is kept there: rm -r would fail with EIO.
func TestUpperOnTmpfs(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		base := testenv.TempDir(t)
		if err := os.MkdirAll(base+"/tree/dir", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(base+"/tree/dir/file", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		spec := testSpec(t, t.TempDir())
		spec.Cwd, spec.Upper = base+"/tree", "tmpfs"
		spec.Strategy = "overlay"
		refused := os.Geteuid() != 0 && errors.Is(tree.UserXattrs("/dev/shm"), probe.ErrUnsupported)
		w, err := New(spec)
		if (err != nil) != refused {
			t.Fatalf("New = %v, want it refused: %v", err, refused)
		}
		if refused {
			return
		}
		res, err := w.Run(Command{Path: "rm", Argv: []string{"rm", "-r", "dir"}, Dir: spec.Cwd, Env: []string{"PATH=/usr/bin:/bin"}, Umask: 0o22, Stderr: os.Stderr})
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		if res.Exit != 0 {
			t.Errorf("rm -r in a world whose changes are in memory: status %d", res.Exit)
		}
	})
}
