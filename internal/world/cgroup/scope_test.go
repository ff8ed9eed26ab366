package cgroup

import (
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

// CGR1: where the caller may not divide their own cgroup, systemd makes one and moves the process
// there.
func TestScope(t *testing.T) {
	testenv.InSession(t, func(t *testing.T, bus string) {
		if dir, err := Parent(false); !errors.Is(err, probe.ErrUnsupported) {
			t.Fatalf("Parent = %s, %v: this session's group can be divided", dir, err)
		}
		sleeper := exec.Command("sleep", "1000")
		sleeper.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := sleeper.Start(); err != nil {
			t.Fatal(err)
		}
		g, err := Scope(bus, "t1", sleeper.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(g.Path) != "substrate-t1.scope" {
			t.Errorf("the group is %s, want substrate-t1.scope", g.Path)
		}
		if procs := strings.TrimSpace(string(g.read("cgroup.procs"))); procs != strconv.Itoa(sleeper.Process.Pid) {
			t.Errorf("the group holds the processes %q, want %d", procs, sleeper.Process.Pid)
		}
		if err := unix.Access(g.Path, unix.W_OK); err != nil {
			t.Errorf("the group is not delegated: %v", err)
		}
		if _, err := Scope(bus, "t1", os.Getpid()); err == nil {
			t.Error("a second scope of the same name was made")
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

// CGR1: without a bus, with one that nobody serves and with one that never answers, Scope gives up
// and says why.
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
