package cgroup

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/testenv"
)

// session is a login session as systemd makes it: a manager of the user's in a cgroup that is delegated to it, and
// beside it a group for the session itself, in which the user may divide nothing.
type session struct {
	bus   string // address of the user's bus
	group *os.File
}

// newSession starts a real systemd --user. It must run in a mount namespace of the test's own.
func newSession(t *testing.T) session {
	t.Helper()
	systemd := testenv.NeedProgram(t, "systemd")
	testenv.NeedProgram(t, "dbus-daemon")
	mount, err := Mount()
	if err != nil {
		testenv.Skip(t, err.Error())
	}
	top := filepath.Join(mount, "substrate-session-"+strconv.Itoa(os.Getpid()))
	run := t.TempDir()
	for _, dir := range []string{top, filepath.Join(top, "manager"), filepath.Join(top, "manager", "session")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := Remove(top); err != nil {
			t.Error(err)
		}
	})
	// systemd takes nothing but /sys/fs/cgroup for the hierarchy, and wants to see that a system manager was there.
	for _, m := range []struct{ kind, at string }{{"cgroup2", "/sys/fs/cgroup"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	top = "/sys/fs/cgroup/" + filepath.Base(top)
	if err := os.MkdirAll("/run/systemd/system", 0o755); err != nil {
		t.Fatal(err)
	}
	account(t, run)
	// The user owns the manager's group, as with Delegate=yes, but not the session's.
	for _, path := range []string{top + "/manager", top + "/manager/cgroup.procs", top + "/manager/cgroup.subtree_control", run} {
		if err := os.Chown(path, testenv.UID, testenv.UID); err != nil {
			t.Fatal(err)
		}
	}
	passable(t, filepath.Dir(run))
	manager := asUser(t, top+"/manager", systemd, "--user", "--unit=basic.target")
	manager.Env = []string{"XDG_RUNTIME_DIR=" + run, "HOME=" + run, "PATH=" + os.Getenv("PATH"), "SYSTEMD_LOG_TARGET=console"}
	var log bytes.Buffer
	manager.Stdout, manager.Stderr = &log, &log
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = manager.Process.Signal(syscall.SIGKILL)
		_ = manager.Wait()
		if t.Failed() {
			t.Logf("systemd --user says:\n%s", log.String())
		}
	})
	s := session{bus: "unix:path=" + run + "/bus"}
	waitFor(t, "the bus of systemd --user", func() bool {
		_, err := os.Stat(run + "/bus")
		return err == nil
	})
	if s.group, err = os.Open(top + "/manager/session"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.group.Close() })
	return s
}

// account gives the ordinary user an entry in this mount namespace's /etc/passwd, without which dbus-daemon does not start.
func account(t *testing.T, home string) {
	t.Helper()
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	id := strconv.Itoa(testenv.UID)
	file := filepath.Join(t.TempDir(), "passwd")
	passwd = append(passwd, "substrate-test:x:"+id+":"+id+"::"+home+":/bin/sh\n"...)
	if err := os.WriteFile(file, passwd, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(file, "/etc/passwd", "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
}

// passable lets everybody pass through the directories down to dir.
func passable(t *testing.T, dir string) {
	t.Helper()
	for ; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// asUser is a command as the ordinary user, started inside the group dir.
func asUser(t *testing.T, dir, program string, args ...string) *exec.Cmd {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		UseCgroupFD: true, CgroupFD: int(f.Fd()), Pdeathsig: syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: testenv.UID, Gid: testenv.UID},
	}
	return cmd
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// CGR1: where the caller's own cgroup cannot be divided, systemd gives one and moves the process there.
func TestScope(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		s := newSession(t)
		sleeper := asUser(t, s.group.Name(), "sleep", "1000")
		if err := sleeper.Start(); err != nil {
			t.Fatal(err)
		}
		g, err := scopeAsUser(t, s.bus, "t1", sleeper.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(g.Path) != "substrate-t1.scope" {
			t.Errorf("the group is %s, want substrate-t1.scope", g.Path)
		}
		if procs := strings.TrimSpace(string(g.read("cgroup.procs"))); procs != strconv.Itoa(sleeper.Process.Pid) {
			t.Errorf("the group holds the processes %q, want %d", procs, sleeper.Process.Pid)
		}
		var st unix.Stat_t
		if err := unix.Stat(g.Path, &st); err != nil || st.Uid != testenv.UID {
			t.Errorf("the group belongs to %d (%v), want the user: it is not delegated", st.Uid, err)
		}
		if err := g.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if err := sleeper.Wait(); err == nil {
			t.Error("the process survived Close")
		}
		if _, err := os.Stat(g.Path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the group is still there: %v", err)
		}
	})
}

// scopeAsUser calls Scope with the user's ids, by which the bus knows its callers.
func scopeAsUser(t *testing.T, bus, name string, pid int) (*Group, error) {
	t.Helper()
	for _, set := range []func(int) error{syscall.Setegid, syscall.Seteuid} {
		if err := set(testenv.UID); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for _, set := range []func(int) error{syscall.Seteuid, syscall.Setegid} {
			if err := set(0); err != nil {
				t.Fatal(err)
			}
		}
	}()
	return Scope(bus, name, pid)
}

// CGR1: without a bus, with one that nobody serves and with one that never answers Scope says so and gives up.
func TestScopeWithout(t *testing.T) {
	dead := filepath.Join(t.TempDir(), "dead")
	for _, bus := range []string{"", "unix:path=" + dead, "nonsense"} {
		if _, err := Scope(bus, "x", os.Getpid()); !errors.Is(err, probe.ErrUnsupported) {
			t.Errorf("Scope(%q) = %v, want an error that wraps ErrUnsupported", bus, err)
		}
	}
	mute := filepath.Join(t.TempDir(), "mute")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: mute}), unix.Listen(fd, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := startScope(ctx, "unix:path="+mute, "substrate-x.scope", os.Getpid()); err == nil {
		t.Error("a bus that never answers gave a scope")
	}
}
