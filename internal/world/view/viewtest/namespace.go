package viewtest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// OrdinaryUID is the uid of the ordinary user when tests run as root.
const OrdinaryUID = 12345

// stageVariable tells a test binary that was started again who the caller is.
const stageVariable = "SUBSTRATE_TEST_NAMESPACE"

// InNamespace runs body in a new mount namespace, as root or as an ordinary user with a user
// namespace. The mounts that body makes end with it. It starts the test binary again with the name
// of the test, so the code before the call runs twice. TMPDIR is a new directory on disk.
//
// The ordinary user starts without capabilities; see [WithCapabilities].
func InNamespace(t *testing.T, user bool, body func(t *testing.T)) {
	t.Helper()
	caller := "root"
	if user {
		caller = "user"
	}
	// The test cache only sees what this process reads.
	_, _ = os.Getenv(seedsVariable), os.Getenv(seedVariable)
	switch os.Getenv(stageVariable) {
	case caller + ":inside":
		enter(t, user)
		body(t)
	case caller + ":device":
		fuseForAll(t, os.Getenv("TMPDIR"))
		restart(t, caller+":outside", os.Getenv("TMPDIR"), &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: OrdinaryUID, Gid: OrdinaryUID},
		})
	case caller + ":outside":
		restart(t, caller+":inside", os.Getenv("TMPDIR"), namespaceOf(user))
	default:
		if !user && os.Geteuid() != 0 {
			Skip(t, "needs root")
		}
		tmp, err := os.MkdirTemp("", "view-")
		if err != nil {
			t.Fatal(err)
		}
		defer removeAll(t, tmp)
		if !user || os.Geteuid() != 0 {
			restart(t, caller+":inside", tmp, namespaceOf(user))
			return
		}
		if err := os.Chown(tmp, OrdinaryUID, OrdinaryUID); err != nil {
			t.Fatal(err)
		}
		restart(t, caller+":device", tmp, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS})
	}
}

// fuseForAll makes a /dev/fuse for everybody in this mount namespace, as most machines have.
func fuseForAll(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	node := filepath.Join(dir, "fuse")
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))); err != nil {
		t.Fatalf("make a device: %v", err)
	}
	err := errors.Join(unix.Chmod(node, 0o666), unix.Mount(node, "/dev/fuse", "", unix.MS_BIND, ""), os.Remove(node))
	if err != nil && !errors.Is(err, unix.ENOENT) { // the machine may have no /dev/fuse
		t.Fatalf("show a device: %v", err)
	}
}

// namespaceOf returns the attributes with which the test binary is started.
func namespaceOf(user bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if user {
		uid, gid := os.Getuid(), os.Getgid()
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER}
	}
	return attr
}

// restart runs this test in another process and takes over its result.
func restart(t *testing.T, stage, tmp string, attr *syscall.SysProcAttr) {
	t.Helper()
	name := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	timeout := time.Duration(0) // no limit
	if end, limited := t.Deadline(); limited {
		timeout = max(time.Until(end), time.Second)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run="+name, "-test.v", "-test.count=1", "-test.timeout="+timeout.String())
	cmd.Env = append(os.Environ(), stageVariable+"="+stage, "TMPDIR="+tmp, "HOME="+tmp)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	// Marked, so that the lines of the inner test are not taken for those of this one.
	marked := "| " + strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "\n| ")
	switch {
	case err != nil:
		t.Errorf("%s: %v\n%s", stage, err, marked)
	case strings.Contains(string(out), "--- SKIP: "+t.Name()+" "):
		Skip(t, marked)
	case testing.Verbose():
		t.Logf("%s:\n%s", stage, marked)
	}
}

// Skip skips the test. It fails if tests must not be skipped.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("SUBSTRATE_NO_SKIP") == "1" {
		t.Fatalf("may not be skipped: %s", reason)
	}
	t.Skip(reason)
}

// enter makes all mounts private before the test makes its own.
func enter(t *testing.T, user bool) {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	syscall.Umask(0o022)
	if user {
		if err := setEffective(false); err != nil {
			Skip(t, "capabilities cannot be put away in a test binary with cgo: "+err.Error())
		}
	}
}

// WithCapabilities calls f with the capabilities that the ordinary user has in the user namespace.
// Without them, a test is refused what the user's commands and the process that computes the diff
// are refused. For root it only calls f.
func WithCapabilities(t testing.TB, f func()) {
	t.Helper()
	if os.Geteuid() == 0 || !permitted() {
		f()
		return
	}
	if err := setEffective(true); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := setEffective(false); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// permitted reports whether this process may have capabilities.
func permitted() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Permitted != 0
}

// setEffective switches the effective capabilities of all threads on or off. Programs do not
// inherit them. The permitted ones stay.
func setEffective(on bool) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for i := range data {
		data[i].Effective, data[i].Inheritable = 0, 0
		if on {
			data[i].Effective = data[i].Permitted
		}
	}
	// capset changes one thread, and Go may move the test to another thread at any time.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return os.NewSyscallError("capset", errno)
	}
	return nil
}

// removeAll is os.RemoveAll for trees with directories of mode 000, such as the work directory of
// an overlay.
func removeAll(t *testing.T, path string) {
	t.Helper()
	if os.RemoveAll(path) == nil {
		return
	}
	_ = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	if err := os.RemoveAll(path); err != nil {
		t.Errorf("remove %s: %v", path, err)
	}
}
