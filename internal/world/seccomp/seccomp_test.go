package seccomp

import (
	"testing"

	"golang.org/x/sys/unix"
)

// decide runs the filter as the kernel does. It knows the instructions that the filter has.
//
// Source: seccomp(2), "Filters"; Linux Documentation/networking/filter.rst.
func decide(t *testing.T, code []unix.SockFilter, arch, nr, arg0 uint32) uint32 {
	t.Helper()
	data := map[uint32]uint32{0: nr, 4: arch, 16: arg0}
	var a uint32
	for pc := 0; pc < len(code); pc++ {
		in, jump := code[pc], false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = data[in.K]
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			jump = a == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			jump = a >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			jump = a&in.K != 0
		default:
			t.Fatalf("instruction %d is %#x", pc, in.Code)
		}
		if jump {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("the filter has no decision")
	return 0
}

// WLD4: what leads out of a world gives the error that programs expect where it does not exist, and
// everything else goes on.
func TestFilter(t *testing.T) {
	const allow = unix.SECCOMP_RET_ALLOW
	refuse := func(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }
	code := Filter()
	for _, s := range tables {
		for _, tc := range []struct {
			name     string
			nr, arg0 uint32
			want     uint32
		}{
			{"clone of a thread", s.clone, unix.CLONE_VM | unix.CLONE_THREAD, allow},
			{"clone with a user namespace", s.clone, unix.CLONE_NEWUSER, allow},
			{"clone with a cgroup namespace", s.clone, unix.CLONE_NEWCGROUP | unix.CLONE_NEWUSER, refuse(unix.EPERM)},
			{"unshare of mounts", s.unshare, unix.CLONE_NEWNS, allow},
			{"unshare of cgroups", s.unshare, unix.CLONE_NEWCGROUP, refuse(unix.EPERM)},
			{"clone3", s.clone3, 0, refuse(unix.ENOSYS)},
			{"keyctl", s.keyctl, 0, refuse(unix.ENOSYS)},
			{"add_key", s.addKey, 0, refuse(unix.ENOSYS)},
			{"request_key", s.requestKey, 0, refuse(unix.ENOSYS)},
			{"socket of a file system", s.socket, unix.AF_UNIX, allow},
			{"socket of the network", s.socket, unix.AF_INET, allow},
			{"vsock", s.socket, unix.AF_VSOCK, refuse(unix.EAFNOSUPPORT)},
			{"an argument like those", 0, unix.CLONE_NEWCGROUP | unix.AF_VSOCK, allow},
			{"no system call", 999, 0, allow},
		} {
			if got := decide(t, code, s.arch, tc.nr, tc.arg0); got != tc.want {
				t.Errorf("architecture %#x, %s: %#x, want %#x", s.arch, tc.name, got, tc.want)
			}
		}
		if got := decide(t, code, s.arch, x32Bit, 0); s.arch == unix.AUDIT_ARCH_X86_64 && got != retNoSys {
			t.Errorf("x32: %#x, want %#x", got, retNoSys)
		}
	}
	if got := decide(t, code, 1, 0, 0); got != retNoSys {
		t.Errorf("an unknown architecture: %#x, want %#x", got, retNoSys)
	}
}

// The kernel takes the filter for each of our architectures only if it has at most so many
// instructions, and a jump reaches 255 of them.
func TestFilterSize(t *testing.T) {
	if n := len(Filter()); n > unix.BPF_MAXINSNS || n > 255 {
		t.Errorf("%d instructions", n)
	}
}
