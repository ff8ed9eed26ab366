package procstate

import (
	"runtime"
	"syscall"
	"unsafe"

	"substrate/internal/plain"
)

// start is what the assembly of vfork reads, and where it writes its answer. The
// offsets of the fields stand in start_amd64.s and start_arm64.s; a test compares them.
type start struct {
	path    *byte
	argv    **byte
	envv    **byte
	ignored uint64     // signals that the program shall ignore; all others have their default
	blocked uint64     // signals that the program shall have blocked
	closed  uint64     // file descriptors to close
	noFile  *[2]uint64 // limits on open files; nil leaves them
	all     uint64     // every signal: blocked while two processes share our memory
	old     uint64     // what this thread had blocked before
	errno   uint64     // why the program could not be executed; 0 if it was
	dfl     [4]uint64  // struct kernel_sigaction for SIG_DFL
	ign     [4]uint64  // struct kernel_sigaction for SIG_IGN
}

// vfork makes a child process that shares our memory until it executes s.path, as
// vfork(2) does. The child runs nothing but the instructions in the assembly file: it
// puts signals, limits and files into the state that s asks for and executes the
// program. It returns the child's process id, or a negative errno.
//
//go:noescape
func vfork(s *start) int64

// Start starts the program at path, a path and not a name to look for, with what this process was
// given: the same files, also those that are closed, limits, ignored and blocked signals, process
// group and terminal. It returns the process id. If this process is killed with SIGKILL, the
// program is too, as if it had been started without us.
//
// The error is the [syscall.Errno] of clone(2) or execve(2).
func Start(path string, argv, env []string) (pid int, err error) {
	s := start{ignored: ignored, blocked: blocked, closed: closed, all: ^uint64(0)}
	s.ign[0] = sigIgn
	if known == 1 {
		s.noFile = &noFile
	} else {
		s.ignored = ignoredNow()
	}
	if s.path, err = syscall.BytePtrFromString(path); err != nil {
		return 0, err
	}
	argvp, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return 0, err
	}
	envp, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return 0, err
	}
	s.argv, s.envv = &argvp[0], &envp[0]

	syscall.ForkLock.Lock() // so that nobody opens a file in two steps just now
	r := vfork(&s)
	syscall.ForkLock.Unlock()
	runtime.KeepAlive(argvp)
	runtime.KeepAlive(envp)

	if r < 0 {
		return 0, syscall.Errno(-r)
	}
	if s.errno != 0 {
		reap(int(r))
		return 0, syscall.Errno(s.errno)
	}
	return int(r), nil
}

// reap takes the status of a child that could not execute its program.
func reap(pid int) {
	for {
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR { //nolint:errorlint // an Errno as it came
			return
		}
	}
}

// Exec replaces this program by the one at path, with what this process was given. It
// returns only if that fails; the error is a [syscall.Errno]. Signals and files are then no
// longer as the runtime wants them, so the caller should say so and exit.
func Exec(path string, argv, env []string) error {
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		if IsIgnored(sig) {
			setAction(sig, kernelAction{handler: sigIgn})
		}
	}
	if known == 1 {
		setMask(blocked)
	}
	err := syscall.Exec(path, argv, env) // restores the limit on open files by itself
	return err
}

// ignoredNow asks which signals are ignored at this moment. Among those that the caller
// ignored the runtime keeps SIGHUP, SIGINT and the signals that stop a process.
func ignoredNow() uint64 {
	var set uint64
	for sig := syscall.Signal(1); sig <= lastSignal; sig++ {
		var a kernelAction
		if rtSigaction(sig, nil, &a) == 0 && a.handler == sigIgn {
			set |= bit(sig)
		}
	}
	return set
}

// kernelAction is struct kernel_sigaction; it is the same on amd64 and arm64.
//
// Source: Linux include/linux/signal_types.h, struct sigaction.
type kernelAction struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// Values of signal-defs.h and of asm/signal.h.
const (
	sigIgn     = 1
	sigUnblock = 1
	sigSetMask = 2
	saSiginfo  = 0x4
	saRestorer = 0x04000000
	saOnStack  = 0x08000000
	saRestart  = 0x10000000
)

// rtSigaction is rt_sigaction(2); either of the actions may be nil.
func rtSigaction(sig syscall.Signal, set, old *kernelAction) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	return errno
}

// setAction sets what happens on sig. It goes past the runtime, which does not notice.
// SIGKILL, SIGSTOP and numbers that are no signals are refused by the kernel; that is
// as it should be.
func setAction(sig syscall.Signal, a kernelAction) { rtSigaction(sig, &a, nil) }

// setMask sets what the calling thread blocks.
func setMask(set uint64) {
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigSetMask, uintptr(unsafe.Pointer(&set)), 0, 8, 0, 0)
}

// unblock takes sig from what the calling thread blocks.
func unblock(sig syscall.Signal) {
	set := bit(sig)
	syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, sigUnblock, uintptr(unsafe.Pointer(&set)), 0, 8, 0, 0)
}

// StartStatus is the exit status for a program that could not be executed. It may be called before
// the Go runtime has started.
func StartStatus(errno syscall.Errno) int {
	if errno == syscall.ENOENT || errno == syscall.ENOTDIR {
		return plain.StatusNotFound
	}
	return plain.StatusNotExecutable
}
