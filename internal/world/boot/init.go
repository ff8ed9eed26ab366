package boot

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SignalTermAll makes the first process send SIGTERM to every process of the world.
const SignalTermAll = 40

// beInit is the life of pid 1: it reaps, passes on signals that come from outside to the
// command's process group, and ends the world when the command has ended.
//
// Source: pid_namespaces(7), "The namespace init process".
//
//go:norace
//go:nosplit
//go:nocheckptr
func beInit(st *state) {
	all := ^uint64(0)
	for {
		r, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&st.info)), 0, 8, 0, 0)
		if e != 0 {
			continue
		}
		if r == uintptr(syscall.SIGCHLD) {
			reap(st)
			continue
		}
		if *(*int32)(unsafe.Add(unsafe.Pointer(&st.info), 16)) != 0 {
			continue // si_pid: sent from inside the world
		}
		if r == SignalTermAll {
			syscall.RawSyscall(unix.SYS_KILL, ^uintptr(0), uintptr(syscall.SIGTERM), 0)
			continue
		}
		syscall.RawSyscall(unix.SYS_KILL, -st.command, r, 0)
	}
}

//go:norace
//go:nosplit
func reap(st *state) {
	for {
		status := uintptr(0)
		r, _, e := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)), unix.WNOHANG, uintptr(unsafe.Pointer(&st.rusage)), 0, 0)
		if e != 0 || r == 0 {
			return
		}
		if r == st.command {
			st.msg.Status = int32(status)
			st.msg.Utime, st.msg.Stime = micros(&st.rusage.Utime), micros(&st.rusage.Stime)
			st.msg.MaxRSS = st.rusage.Maxrss
			endAll()
			st.msg.Kind, st.msg.Errno = MsgExit, 0
			send(st)
			exit(0)
		}
	}
}

//go:norace
//go:nosplit
func micros(t *unix.Timeval) int64 { return t.Sec*1e6 + t.Usec }

// endAll kills every other process of the world and waits until none is left, so that when the
// supervisor hears of the end nothing can write any more, and it need not wait for the
// namespaces to be taken down.
//
//go:norace
//go:nosplit
func endAll() {
	syscall.RawSyscall(unix.SYS_KILL, ^uintptr(0), uintptr(syscall.SIGKILL), 0)
	for {
		if _, _, e := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), 0, 0, 0, 0, 0); e == syscall.ECHILD {
			return
		}
	}
}
