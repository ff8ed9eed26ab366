package testenv

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Host is a machine that has less than this one, as containers and hardened hosts do. The zero Host
// is this machine, for root. Some fields need root.
type Host struct {
	User bool // body runs as the ordinary user of [AsUser], else as root

	// A seccomp filter refuses these calls, to all programs that body starts.
	WithoutUserns     bool // EPERM, and no clone3(2), as in Docker's default profile
	WithoutClone3     bool // ENOSYS, as in an old kernel and in a world
	WithoutCloseRange bool // EPERM, as in a container whose profile does not know it
	WithoutMounts     bool // EPERM from every call that mounts, as with Docker's AppArmor profile
	WithoutLandlock   bool // ENOSYS, as in an old kernel

	WithoutCapabilities bool // uid 0 with nothing in the bounding set

	// These need root.
	WithoutFuse bool // no /dev/fuse
	OpenFuse    bool // a /dev/fuse that everybody may use, as most machines have
	Overlays    int  // overlays below "/": 1 as in a container; on 2 the kernel allows no other
	FullTmp     bool // no room in /tmp; TMPDIR and HOME are elsewhere
}

// needsRoot reports whether only root can set the Host up.
func (h *Host) needsRoot() bool {
	return !h.User || h.WithoutFuse || h.OpenFuse || h.Overlays > 0 || h.FullTmp
}

// In runs body on such a host, in a child process. If the host needs root, the child has mount,
// pid, network, ipc and uts namespaces of its own, private mounts and a fresh /proc. In skips the
// test where this machine cannot set the host up. A test may not call [InRoot] or its like as well.
func In(t *testing.T, h Host, body func(t *testing.T)) {
	t.Helper()
	attr := &syscall.SysProcAttr{}
	if h.needsRoot() {
		if !isChild(t) {
			NeedRoot(t)
		}
		attr.Cloneflags = isolated
	}
	Child(t, attr, func(t *testing.T) {
		inner := &syscall.SysProcAttr{}
		if here := os.Getenv(marker); here == "1 "+t.Name() {
			if h.needsRoot() {
				private(t)
				h.arrange(t)
			}
			h.restrict(t)
			if h.User && os.Getuid() == 0 {
				inner.Credential = &syscall.Credential{Uid: UID, Gid: UID}
			}
		}
		second(t, inner, func(t *testing.T) {
			h.places(t)
			body(t)
		})
	})
}

// places gives body a home and a place for temporary files.
func (h *Host) places(t *testing.T) {
	t.Helper()
	if h.FullTmp {
		dir, err := os.MkdirTemp("/var/tmp", "substrate-test-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		setenv(t, "TMPDIR", dir)
	}
	if h.FullTmp || h.User {
		setenv(t, "HOME", t.TempDir())
	}
}

// setenv is t.Setenv for a process that runs one test, which may be parallel.
func setenv(t *testing.T, name, value string) {
	t.Helper()
	if err := os.Setenv(name, value); err != nil {
		t.Fatal(err)
	}
}

// restrict takes away from the calling thread, and from what it starts, what the host does not
// have. The thread stays locked.
func (h *Host) restrict(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if refused := h.refused(); len(refused) > 0 {
		if err := refuse(refused); err != nil {
			t.Fatalf("install a seccomp filter: %v", err)
		}
	}
	if !h.WithoutCapabilities {
		return
	}
	for _, c := range allCapabilities() {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			t.Fatalf("drop capability %d: %v", c, err)
		}
	}
}

// refusal is a system call that fails with errno. If flags is set, only calls whose first argument
// has one of them fail.
type refusal struct {
	nr    uint32
	flags uint32
	errno unix.Errno
}

// refused lists what the host refuses.
func (h *Host) refused() []refusal {
	var all []refusal
	if h.WithoutUserns {
		all = append(all, refusal{unix.SYS_CLONE, unix.CLONE_NEWUSER, unix.EPERM}, refusal{unix.SYS_UNSHARE, unix.CLONE_NEWUSER, unix.EPERM},
			refusal{unix.SYS_CLONE3, 0, unix.ENOSYS})
	}
	if h.WithoutClone3 {
		all = append(all, refusal{unix.SYS_CLONE3, 0, unix.ENOSYS})
	}
	if h.WithoutCloseRange {
		all = append(all, refusal{unix.SYS_CLOSE_RANGE, 0, unix.EPERM})
	}
	if h.WithoutMounts {
		for _, nr := range []uint32{unix.SYS_MOUNT, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR, unix.SYS_PIVOT_ROOT} {
			all = append(all, refusal{nr, 0, unix.EPERM})
		}
	}
	if h.WithoutLandlock {
		all = append(all, refusal{unix.SYS_LANDLOCK_CREATE_RULESET, 0, unix.ENOSYS})
	}
	return all
}

// refuse installs a filter on the calling thread.
//
// Source: seccomp(2), SECCOMP_SET_MODE_FILTER; on our architectures the low half of an argument
// comes first.
func refuse(all []refusal) error {
	const nr, firstArg = 0, 16 // offsets in struct seccomp_data
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	jump := func(how uint16, k uint32, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | how | unix.BPF_K, K: k, Jf: no}
	}
	var code []unix.SockFilter
	for _, r := range all {
		answer := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(r.errno)}
		code = append(code, load(nr))
		if r.flags == 0 {
			code = append(code, jump(unix.BPF_JEQ, r.nr, 1), answer)
		} else {
			code = append(code, jump(unix.BPF_JEQ, r.nr, 3), load(firstArg), jump(unix.BPF_JSET, r.flags, 1), answer)
		}
	}
	code = append(code, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	prog := &unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if os.Geteuid() != 0 {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	return prctlPointer(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, prog)
}
