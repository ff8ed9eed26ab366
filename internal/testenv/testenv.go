// Package testenv gives tests the privileges and namespaces that they need, and checks that they
// leave nothing behind.
//
// A test body that mounts, makes namespaces or needs another user runs in a child process: the test
// binary again, for this one test. [InRoot], [InUserns] and [AsUser] start it and report its
// outcome; [Leaks] compares the machine before and after. Only tests import this package.
package testenv

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// UID is the user and group id of the ordinary user that [AsUser] and [InUserns] take when the
// tests run as root. It needs no account.
const UID = 12345

// marker names the environment variable that holds the level and the test of a child.
const marker = "SUBSTRATE_TEST_CHILD"

// isolated are the namespaces of InRoot, and with NEWUSER those of InUserns.
const isolated = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// Skip skips the test and prints the reason. With SUBSTRATE_NO_SKIP=1 the test fails instead
// (PKG2).
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("SUBSTRATE_NO_SKIP") == "1" {
		t.Fatalf("cannot run here, and SUBSTRATE_NO_SKIP=1: %s", reason)
	}
	t.Skip(reason)
}

// NeedRoot skips the test unless it runs as uid 0 with CAP_SYS_ADMIN and CAP_NET_ADMIN.
func NeedRoot(t testing.TB) {
	t.Helper()
	if !hasRoot() {
		Skip(t, "needs root with CAP_SYS_ADMIN and CAP_NET_ADMIN")
	}
}

// NeedUserns skips the test unless the ordinary user of [AsUser] may make user namespaces and mount
// in them.
func NeedUserns(t testing.TB) {
	t.Helper()
	if err := tryUserns(); err != nil {
		Skip(t, "needs unprivileged user namespaces: "+err.Error())
	}
}

// NeedProgram skips the test unless a program of that name is on PATH, and returns its path.
func NeedProgram(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(t, "needs the program "+name)
	}
	return path
}

// InRoot runs body as root in mount, pid, network, ipc and uts namespaces of its own, with private
// mounts and a fresh /proc.
func InRoot(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if !isChild(t) {
		NeedRoot(t)
	}
	Child(t, &syscall.SysProcAttr{Cloneflags: isolated}, func(t *testing.T) {
		private(t)
		body(t)
	})
}

// InUserns runs body as an ordinary user with all capabilities in a user namespace that maps only
// that user, and in mount, pid, network, ipc and uts namespaces of its own, with private mounts and
// a fresh /proc. HOME is a directory of the user.
func InUserns(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	AsUser(t, func(t *testing.T) {
		inner := &syscall.SysProcAttr{
			Cloneflags:  isolated | unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
			AmbientCaps: allCapabilities(),
		}
		second(t, inner, func(t *testing.T) {
			private(t)
			body(t)
		})
	})
}

// AsUser runs body as an ordinary user, in the namespaces of the caller. HOME is a directory of the
// user, which is the caller if that is not root, else [UID]. AsUser skips the test where that user
// cannot make user namespaces.
func AsUser(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	if !isChild(t) {
		NeedUserns(t)
	}
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: UID, Gid: UID}
	}
	Child(t, attr, func(t *testing.T) {
		// Not t.Setenv, which parallel tests may not call: this process runs one test.
		if err := os.Setenv("HOME", t.TempDir()); err != nil {
			t.Fatal(err)
		}
		body(t)
	})
}

// Child runs body in a child process with attr; the test passes, fails or is skipped as it does
// there. What the test does before it calls Child happens in both processes.
func Child(t *testing.T, attr *syscall.SysProcAttr, body func(t *testing.T)) {
	t.Helper()
	child(t, "1", attr, body)
}

// second is Child for a body that runs in a child already.
func second(t *testing.T, attr *syscall.SysProcAttr, body func(t *testing.T)) {
	t.Helper()
	child(t, "2", attr, body)
}

// child runs body if this process is at the given level for this test, else starts such a process.
func child(t *testing.T, level string, attr *syscall.SysProcAttr, body func(t *testing.T)) {
	t.Helper()
	here := os.Getenv(marker)
	if here == level+" "+t.Name() || level == "1" && here == "2 "+t.Name() {
		body(t)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run="+pattern(t.Name()), "-test.v", "-test.count=1", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), marker+"="+level+" "+t.Name())
	if attr.Credential != nil {
		cmd.Env = append(cmd.Env, "TMPDIR=/tmp") // root's may be closed to the user
	}
	cmd.SysProcAttr = attr
	attr.Pdeathsig = syscall.SIGKILL
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	outcome(t, out.String(), err)
}

// outcome makes t end as the child did.
func outcome(t *testing.T, out string, err error) {
	t.Helper()
	t.Log("output of the child process:\n" + strings.TrimRight(out, "\n"))
	switch {
	case err != nil:
		t.Fatalf("child process: %v", err)
	case strings.Contains(out, "--- SKIP: "+t.Name()+" "):
		t.Skip("skipped in the child process")
	case !strings.Contains(out, "--- PASS: "+t.Name()+" "):
		t.Fatal("the child process did not run the test")
	}
}

// pattern returns the -test.run expression for exactly one test or subtest.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// InChild reports whether this process is the child in which the body of some test runs.
func InChild() bool { return os.Getenv(marker) != "" }

// isChild reports whether this process was started to run this test.
func isChild(t *testing.T) bool {
	_, name, found := strings.Cut(os.Getenv(marker), " ")
	return found && name == t.Name()
}

// private makes all mounts private, so that none reaches the host, and mounts a fresh /proc.
func private(t *testing.T) {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make all mounts private: %v", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		t.Logf("/proc stays that of the host: %v", err) // a container that masks parts of its own
	}
}

// hasRoot reports whether this process is root with the two capabilities.
func hasRoot() bool {
	caps := effectiveCapabilities()
	return os.Getuid() == 0 && caps&(1<<unix.CAP_SYS_ADMIN) != 0 && caps&(1<<unix.CAP_NET_ADMIN) != 0
}

// effectiveCapabilities returns the effective set of this process, 0 if it cannot be read.
func effectiveCapabilities() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "\nCapEff:\t")
	line, _, _ := strings.Cut(rest, "\n")
	caps, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return 0
	}
	return caps
}

// allCapabilities returns every capability that this kernel knows.
func allCapabilities() []uintptr {
	last := unix.CAP_LAST_CAP
	if b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap"); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			last = n
		}
	}
	var caps []uintptr
	for c := range last + 1 {
		caps = append(caps, uintptr(c))
	}
	return caps
}

// tryUserns lets the ordinary user make a user namespace, once.
var tryUserns = sync.OnceValue(func() error {
	if os.Getenv(marker) != "" {
		return nil // the parent tried
	}
	// The user makes the namespace, not root for the user: distributions only forbid the former.
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "true")
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: UID, Gid: UID}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return errors.New(strings.TrimSpace(string(out) + " " + err.Error()))
	}
	return nil
})
