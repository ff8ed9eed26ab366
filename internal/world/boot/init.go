package boot

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/world/ops"
)

// initSocket is the descriptor of the report socket in the processes of a world.
const initSocket = 3

// SignalTermAll makes the init process send SIGTERM to every process of the world.
const SignalTermAll = 40

// initMain is what the init process does.
//
//lint:ignore U1000 called by the assembly
//go:norace
//go:nosplit
func initMain() {
	const private, fixed = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE, unix.MAP_FIXED_NOREPLACE
	at, _, e := syscall.RawSyscall6(unix.SYS_MMAP, ops.Base, ops.Room, unix.PROT_READ|unix.PROT_WRITE, private|fixed, ^uintptr(0), 0)
	st := &initState
	if e == 0 && at != ops.Base {
		e = syscall.EEXIST // Linux before 4.17 takes another place
	}
	st.inbox = ops.Base
	*reg(st, uintptr(regSocket)) = initSocket
	*reg(st, uintptr(regNet)) = ^uintptr(0) // looks like a descriptor that is closed
	if e != 0 {
		fail(st, StepStart, e)
	} else {
		readPart(st, uintptr(firstReg))
	}
	interpret(st)
}

// beInit is the rest of the init process's life: it reaps, passes on signals that come from outside
// to the command's process group, and ends the world when the command or the supervisor has ended.
//
// Source: pid_namespaces(7), "The namespace init process"; fcntl(2), F_SETOWN.
//
//go:norace
//go:nosplit
//go:nocheckptr
func beInit(st *state) {
	all := ^uint64(0)
	for !st.ended {
		info := unsafe.Pointer(&st.results.info)
		r, _, e := syscall.RawSyscall6(unix.SYS_RT_SIGTIMEDWAIT, uintptr(unsafe.Pointer(&all)), uintptr(info), 0, 8, 0, 0)
		if e != 0 {
			continue
		}
		code, pid := *(*int32)(unsafe.Add(info, 8)), *(*int32)(unsafe.Add(info, 16))
		switch {
		case r == uintptr(syscall.SIGCHLD):
			reap(st)
		case r == uintptr(syscall.SIGIO) && code > 0:
			checkAlive(st) // the kernel has news of the socket
		case pid != 0: // sent from inside the world
		case r == SignalTermAll:
			syscall.RawSyscall(unix.SYS_KILL, ^uintptr(0), uintptr(syscall.SIGTERM), 0)
		default:
			syscall.RawSyscall(unix.SYS_KILL, -st.command, r, 0)
		}
	}
}

// reap collects the processes that have ended. The command is reported, after all others.
//
//go:norace
//go:nosplit
func reap(st *state) {
	usage := &st.results.rusage
	for {
		status := uintptr(0)
		r, _, e := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)), unix.WNOHANG, uintptr(unsafe.Pointer(usage)), 0, 0)
		if e != 0 || r == 0 {
			return
		}
		if r == st.command {
			st.msg.Status = int32(status)
			st.msg.Utime, st.msg.Stime = micros(&usage.Utime), micros(&usage.Stime)
			st.msg.MaxRSS = usage.Maxrss
			endAll()
			report(st, MsgExit, uint8(st.msg.Step), 0)
			end(st, 0)
			return
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
