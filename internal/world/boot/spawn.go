package boot

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/procstate"
)

// name is argv[0] of the init process, which has no other arguments. The first instructions of
// cmd/substrate know it.
var name = [...]byte{'s', 'u', 'b', 's', 't', 'r', 'a', 't', 'e', ':', ' ', 'i', 'n', 'i', 't', 0}

// entryAddress is that of boot_entry.
func entryAddress() uintptr

// executable is the path of a program that begins at boot_entry if its only argument is name: this
// one, or a copy that always begins there, for a test or a program that was linked without -E.
var executable = sync.OnceValues(func() (string, error) {
	const self, entry = "/proc/self/exe", 24
	if procstate.Known() {
		return self, nil
	}
	text, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	*(*uintptr)(unsafe.Pointer(&text[entry])) = entryAddress()
	fd, err := unix.MemfdCreate("substrate", unix.MFD_CLOEXEC)
	if err != nil {
		return "", os.NewSyscallError("memfd_create", err)
	}
	if _, err := unix.Write(fd, text); err != nil {
		return "", os.NewSyscallError("write", err)
	}
	defer unix.Close(fd)                                                        //nolint:errcheck // the copy is in memory
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, initSocket+1) // the child needs that number
	if err != nil {
		return "", os.NewSyscallError("fcntl", err)
	}
	return "/proc/self/fd/" + strconv.Itoa(high), nil
})

// spawning is what spawn needs. The assembly knows its layout. It is on the heap, because the
// kernel writes to it and stacks move.
type spawning struct {
	flags  uintptr
	pidFD  int64
	all, _ uint64            // signal masks: the one to set, and the old one
	failed int64             // what execve(2) returned
	calls  [calls][5]uintptr // of the child; the last is execve(2)

	path       [32]byte
	argv, envp [2]uintptr
	caps       struct {
		header unix.CapUserHeader
		data   [2]unix.CapUserData
	}
}

const (
	lastCap = 45 // above any capability that Linux has; one that does not exist does no harm
	calls   = lastCap + 3
)

// spawn makes a child, which makes the calls, and returns its id or a negative errno.
func spawn(s *spawning) (pid int)

// newSpawning prepares an init process, with a user namespace of its own if user, that has the
// socket.
func newSpawning(path string, user bool, socket int) *spawning {
	s := &spawning{all: ^uint64(0)}
	s.flags = unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PIDFD | uintptr(syscall.SIGCHLD) |
		unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	next := s.calls[:0]
	next = append(next, [5]uintptr{unix.SYS_DUP3, uintptr(socket), initSocket})
	if user {
		s.flags |= unix.CLONE_NEWUSER
		// In its namespace the process is nobody until it writes its maps. Who is not root keeps
		// capabilities across execve(2) only if they are ambient.
		//
		// Source: capabilities(7), "Transformation of capabilities during execve()".
		s.caps.header.Version = unix.LINUX_CAPABILITY_VERSION_3
		for i := range s.caps.data {
			const all = ^uint32(0)
			s.caps.data[i] = unix.CapUserData{Effective: all, Permitted: all, Inheritable: all}
		}
		next = append(next, [5]uintptr{unix.SYS_CAPSET, uintptr(unsafe.Pointer(&s.caps.header)), uintptr(unsafe.Pointer(&s.caps.data))})
		for c := range uintptr(lastCap) {
			next = append(next, [5]uintptr{unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, c})
		}
	}
	copy(s.path[:], path)
	s.argv[0] = uintptr(unsafe.Pointer(&name))
	_ = append(next, [5]uintptr{unix.SYS_EXECVE, uintptr(unsafe.Pointer(&s.path)), uintptr(unsafe.Pointer(&s.argv)), uintptr(unsafe.Pointer(&s.envp))})
	return s
}

// startInit starts an init process, with a user namespace of its own if user, that has the socket.
func startInit(user bool, socket int) (pid, pidFD int, err error) {
	path, err := executable()
	if err != nil {
		return 0, -1, fmt.Errorf("prepare the init process: %w", err)
	}
	s := newSpawning(path, user, socket)
	if pid = spawn(s); pid < 0 {
		return 0, -1, fmt.Errorf("clone: %w", syscall.Errno(-pid))
	}
	if s.failed < 0 {
		_ = waitFor(pid)
		_ = unix.Close(int(s.pidFD))
		return 0, -1, fmt.Errorf("execute the init process: %w", syscall.Errno(-s.failed))
	}
	return pid, int(s.pidFD), nil
}
