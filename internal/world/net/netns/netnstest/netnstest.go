// Package netnstest runs tests inside network namespaces of their own.
//
// A test that changes the kernel's network must never change the host's. So the package executes
// the test binary again in a new namespace, once as root and once as an ordinary user in a user
// namespace, and runs the body of the test there. Only tests import it.
package netnstest

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// stage is the environment variable with the stage that a process is in.
const stage = "NETNSTEST_STAGE"

// NoSkip is the environment variable that turns a skip into a failure if it is "1".
const NoSkip = "SUBSTRATE_NO_SKIP"

// ordinary is the uid and gid of the ordinary user.
const ordinary = 12345

// Each runs body twice, as the subtests "root" and "user", each in new network and mount namespaces
// where lo is down and no mount is shared with the host: by [Root], and as an ordinary user in a
// user namespace where only the caller's own ids are mapped.
func Each(t *testing.T, body func(t *testing.T)) {
	Root(t, body)
	inside(t, "user", body)
}

// Root runs body as the subtest "root" in such namespaces, as root without a user namespace. It is
// skipped for somebody who is not root.
func Root(t *testing.T, body func(t *testing.T)) { inside(t, "root", body) }

func inside(t *testing.T, who string, body func(t *testing.T)) {
	t.Run(who, func(t *testing.T) {
		if os.Getenv(stage) == "inside" {
			if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
				t.Fatalf("make mounts private: %v", err)
			}
			body(t)
			return
		}
		if who == "root" && os.Getuid() != 0 {
			Skip(t, "needs root")
		}
		again(t, who)
	})
}

// OnHost reports whether the process is still in the network namespace that the tests were started
// in.
func OnHost() bool { return os.Getenv(stage) == "" }

// Skip skips the test, or fails it if skips are not wanted.
func Skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv(NoSkip) == "1" {
		t.Fatalf("must not skip: %s", reason)
	}
	t.Skip(reason)
}

// again runs the current test in a new process, one stage further inside.
func again(t *testing.T, who string) {
	t.Helper()
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	next := "inside"
	switch {
	case who == "root":
		attr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWNS
	case os.Getuid() == 0: // become ordinary first: a user namespace made by root would prove nothing
		attr.Credential = &syscall.Credential{Uid: ordinary, Gid: ordinary}
		next = "ordinary"
	default:
		attr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		attr.AmbientCaps = []uintptr{capNetBindService, capNetAdmin, capNetRaw, capSysAdmin}
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), stage+"="+next)
	cmd.Dir = "/"
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Fatalf("in the namespace: %v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP: "+t.Name())):
		Skip(t, "skipped in the namespace:\n"+string(out))
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name())):
		t.Fatalf("the test did not run in the namespace:\n%s", out)
	default:
		t.Logf("in the namespace:\n%s", out)
	}
}

// Source: Linux include/uapi/linux/capability.h.
const (
	capNetBindService = 10
	capNetAdmin       = 12
	capNetRaw         = 13
	capSysAdmin       = 21
)
