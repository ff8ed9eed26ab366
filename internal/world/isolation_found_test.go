package world

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

// inWorld runs script in a world with the given standard input and returns its status.
func inWorld(t *testing.T, script string, stdin *os.File) int {
	t.Helper()
	w, err := New(testSpec(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}()
	res, err := w.Run(Command{Path: "/bin/bash", Argv: []string{"bash", "-c", script}, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}, Umask: 0o22, Stdin: stdin})
	if err != nil {
		t.Fatal(err)
	}
	return res.Exit
}

// asBoth runs body as root and as an ordinary user.
func asBoth(t *testing.T, body func(t *testing.T)) {
	t.Run("root", func(t *testing.T) { testenv.NeedRoot(t); testenv.InRoot(t, body) })
	t.Run("user", func(t *testing.T) { testenv.NeedUserns(t); testenv.AsUser(t, body) })
}

// WLD1: a file that is standard input is read from its current offset and cannot be written through
// it.
func TestStdinFile(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "in")
		if err := os.WriteFile(path, []byte("first\nsecond\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = in.Close() }()
		if _, err := in.Seek(6, 0); err != nil {
			t.Fatal(err)
		}
		const script = `read line; test "$line" = second || exit 1; echo hacked > /dev/stdin; echo hacked >> /proc/self/fd/0; test "$(cat /dev/stdin 2>/dev/null)" != none`
		if status := inWorld(t, script, in); status != 0 {
			t.Errorf("status %d, want 0", status)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "first\nsecond\n" {
			t.Errorf("the host's file reads %q, %v", got, err)
		}
	})
}

// WLD4: the nodes in /dev are the host's; a command can use the devices and not change the nodes.
func TestDeviceNodes(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		var before, after unix.Stat_t
		if err := unix.Stat("/dev/full", &before); err != nil {
			t.Fatal(err)
		}
		if status := inWorld(t, `chmod 0600 /dev/full; touch /dev/full; chown 1:1 /dev/full; echo x > /dev/null && head -c1 /dev/zero > /dev/null`, nil); status != 0 {
			t.Errorf("status %d, want 0", status)
		}
		if err := unix.Stat("/dev/full", &after); err != nil || after.Ctim != before.Ctim || after.Mode != before.Mode {
			t.Errorf("the host's /dev/full changed: %+v, was %+v, %v", after, before, err)
		}
	})
}

// WLD4: a command cannot make a cgroup namespace, which could mount the host's hierarchies of
// version 1.
func TestNoCgroupNamespace(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		if status := inWorld(t, `unshare -UrmC --map-root-user true 2>/dev/null`, nil); status == 0 {
			t.Error("a cgroup namespace could be made")
		}
		if status := inWorld(t, `unshare -Urm --map-root-user true`, nil); status != 0 {
			t.Errorf("a user namespace gives %d, want 0: the filter refuses too much", status)
		}
	})
}

// NET1: a command cannot use vsock, which belongs to no network namespace and leads to the
// hypervisor.
func TestNoVsock(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		testenv.NeedProgram(t, "perl")
		const afVsock = `perl -e 'socket(my $s, 40, 1, 0) and exit 1; exit($!{EAFNOSUPPORT} ? 0 : 2)'`
		if status := inWorld(t, afVsock, nil); status != 0 {
			t.Errorf("status %d: 1 means a socket was made, 2 another error than EAFNOSUPPORT", status)
		}
		if status := inWorld(t, `perl -e 'socket(my $s, 2, 1, 0) or exit 1'`, nil); status != 0 {
			t.Error("the filter refuses ordinary sockets too")
		}
	})
}

// WLD1: a disk is refused as standard input: it leads around every overlay.
func TestDiskAsStdin(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.InRoot(t, func(t *testing.T) {
		node := filepath.Join(testenv.TempDir(t), "disk")
		if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Open(node, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			testenv.Skip(t, "needs a loop device: "+err.Error())
		}
		defer func() { _ = unix.Close(fd) }()
		if err := leadsOut(fd); err == nil {
			t.Error("leadsOut let a disk pass")
		}
	})
}
