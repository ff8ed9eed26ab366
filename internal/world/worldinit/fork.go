package worldinit

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The three hooks with which package syscall brackets its own fork. gVisor's sentry links
// to them for the same purpose, and the runtime lists them as used from outside.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// fork makes the child with clone3(2) and lets it work through the program at st, on a stack of its own and without the Go
// heap. In the parent it returns the child's pid.
//
//go:norace
//go:noinline
func fork(args *cloneArgs, st *childState) (pid uintptr, errno syscall.Errno) {
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	var r int
	withoutHeap(func() {
		beforeFork()
		r = forkOn(args, unsafe.Sizeof(*args), st)
		afterFork()
	})
	if r < 0 {
		return 0, syscall.Errno(-r)
	}
	return uintptr(r), 0
}

// forkOn is clone3(2). The child begins in interpret, on the stack that args names.
//
//go:noescape
func forkOn(args *cloneArgs, size uintptr, st *childState) int

// forkOld is fork for kernels and seccomp filters that refuse clone3(2). It cannot place the child in a cgroup, and the
// child goes on with a copy of everything.
//
//go:norace
//go:noinline
func forkOld(flags uintptr, pidfd *int32, st *childState) (pid uintptr, errno syscall.Errno) {
	beforeFork()
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, flags, 0, uintptr(unsafe.Pointer(pidfd)), 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	afterForkInChild()
	interpret(st)
	return 0, 0 // not reached
}

// interpret works through the ops. It runs in the child only, and neither it nor
// anything it calls may grow the stack, allocate, or return.
//
//go:norace
//go:nosplit
//go:nocheckptr
func interpret(st *childState) {
	pc := int32(0)
	for {
		o := (*op)(unsafe.Add(st.ops, uintptr(pc)*unsafe.Sizeof(op{})))
		var r uintptr
		var e syscall.Errno
		switch o.kind {
		case opCall:
			r, _, e = syscall.RawSyscall6(o.nr, arg(st, o, 0), arg(st, o, 1), arg(st, o, 2), arg(st, o, 3), arg(st, o, 4), arg(st, o, 5))
			if e != 0 && int32(e) == o.wantErr {
				e = 0
				if o.skip != 0 {
					pc = o.skip
					continue
				}
			}
		case opJump:
			pc = o.onErr
			continue
		case opSpawn:
			// The child works through its ops in this same frame before the parent goes on in it, so
			// afterwards nothing but st may be relied on.
			pid := vfork()
			if pid == 0 {
				pc = st.child
				continue
			}
			pc = st.parent
			if pid < 0 {
				fail(st, pc, syscall.Errno(-pid))
			}
			st.command = uintptr(pid)
			continue
		default:
			e = perform(st, o, pc)
		}
		if e != 0 {
			st.lastErr = int32(e)
			if o.onErr == fatal {
				fail(st, pc, e)
			}
			if o.onErr >= 0 {
				pc = o.onErr
				continue
			}
		} else if o.dst != 0 {
			*(*uintptr)(unsafe.Add(unsafe.Pointer(&st.regs), uintptr(o.dst-1)*unsafe.Sizeof(r))) = r
		}
		if pc++; o.next != 0 && e == 0 {
			pc = o.next
		}
	}
}

// perform does what is not a plain system call.
//
//go:norace
//go:nosplit
//go:nocheckptr
func perform(st *childState, o *op, pc int32) syscall.Errno {
	switch o.kind {
	case opAlive:
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, st.status, uintptr(unsafe.Pointer(&st.buf)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		if e == 0 && n == 0 || e != 0 && e != syscall.EAGAIN {
			exit(125) // the other end is closed: the supervisor is gone
		}
	case opAck:
		return acks(st, arg(st, o, 0))
	case opPoke:
		target := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(&st.pokes), o.args[0]*unsafe.Sizeof(st.pokes[0])))
		*(*int32)(target) = int32(arg(st, o, 1))
	case opPeek:
		source := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(&st.pokes), o.args[0]*unsafe.Sizeof(st.pokes[0])))
		*(*uintptr)(unsafe.Add(unsafe.Pointer(&st.regs), o.args[1]*unsafe.Sizeof(uintptr(0)))) = uintptr(*(*int32)(source))
	case opStep:
		report(st, MsgStep, pc, 0)
	case opDegrade:
		report(st, MsgDegrade, pc, syscall.Errno(st.lastErr))
	case opExec:
		report(st, MsgExec, pc, execute(st))
		exit(127)
	case opInit:
		beInit(st)
	}
	return 0
}

//go:norace
//go:nosplit
//go:nocheckptr
func arg(st *childState, o *op, i uintptr) uintptr {
	v := *(*uintptr)(unsafe.Add(unsafe.Pointer(&o.args), i*unsafe.Sizeof(uintptr(0))))
	if o.regMask&(1<<i) != 0 {
		return *(*uintptr)(unsafe.Add(unsafe.Pointer(&st.regs), v*unsafe.Sizeof(uintptr(0))))
	}
	return v
}

//go:norace
//go:nosplit
func exit(code uintptr) {
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, code, 0, 0)
	}
}

//go:norace
//go:nosplit
func report(st *childState, kind int32, pc int32, e syscall.Errno) {
	st.msg.Kind, st.msg.Op, st.msg.Errno = kind, pc, int32(e)
	syscall.RawSyscall6(unix.SYS_SENDTO, st.status, uintptr(unsafe.Pointer(&st.msg)), unsafe.Sizeof(st.msg), unix.MSG_NOSIGNAL, 0, 0)
}

//go:norace
//go:nosplit
func fail(st *childState, pc int32, e syscall.Errno) {
	report(st, MsgFail, pc, e)
	exit(125)
}

// acks reads answers until none is left and returns the first error among them. No answer at all
// is an error too: the kernel passes over in silence what it cannot parse.
//
//go:norace
//go:nosplit
//go:nocheckptr
func acks(st *childState, fd uintptr) syscall.Errno {
	base := unsafe.Pointer(&st.buf)
	none := syscall.ENODATA
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(base), unsafe.Sizeof(st.buf), unix.MSG_DONTWAIT, 0, 0)
		if e == syscall.EAGAIN {
			return none
		}
		if e != 0 {
			return e
		}
		for off := uintptr(0); off+20 <= n; {
			h := (*unix.NlMsghdr)(unsafe.Add(base, off))
			if h.Type == unix.NLMSG_ERROR {
				if code := *(*int32)(unsafe.Add(base, off+16)); code != 0 {
					return syscall.Errno(-code)
				}
				none = 0
			}
			if h.Len < 16 {
				break
			}
			off += (uintptr(h.Len) + 3) &^ 3
		}
	}
}

// execute tries the candidates in turn as execvp(3) does: a candidate that may not be
// executed is passed over, but remembered.
//
//go:norace
//go:nosplit
//go:nocheckptr
func execute(st *childState) syscall.Errno {
	worst := syscall.ENOENT
	for p := st.paths; ; p = unsafe.Add(p, unsafe.Sizeof(uintptr(0))) {
		path := *(*uintptr)(p)
		if path == 0 {
			return worst
		}
		_, _, e := syscall.RawSyscall(unix.SYS_EXECVE, path, uintptr(st.argv), uintptr(st.env))
		switch e {
		case syscall.ENOENT, syscall.ENOTDIR:
		case syscall.EACCES:
			worst = e
		default:
			return e
		}
	}
}

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
func beInit(st *childState) {
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
func reap(st *childState) {
	for {
		status := uintptr(0)
		r, _, e := syscall.RawSyscall6(unix.SYS_WAIT4, ^uintptr(0), uintptr(unsafe.Pointer(&status)), unix.WNOHANG, uintptr(unsafe.Pointer(&st.rusage)), 0, 0)
		if e != 0 || r == 0 {
			return
		}
		if r == st.command {
			st.msg.Status = int32(status)
			st.msg.Utime = st.rusage.Utime.Sec*1e6 + st.rusage.Utime.Usec
			st.msg.Stime = st.rusage.Stime.Sec*1e6 + st.rusage.Stime.Usec
			st.msg.MaxRSS = st.rusage.Maxrss
			endAll()
			report(st, MsgExit, 0, 0)
			exit(0)
		}
	}
}

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

// begin readies the child's state and returns it. The program must not change afterwards.
func (p *Program) begin() *childState {
	b := p.bytes(len(p.ops) * int(unsafe.Sizeof(op{})))
	p.state.ops = unsafe.Pointer(&b[0])
	copy(unsafe.Slice((*op)(p.state.ops), len(p.ops)), p.ops)
	return p.state
}

// vfork is clone(2) with CLONE_VM and CLONE_VFORK on the same stack: it returns in the child, and then, once that has
// executed a program or ended, in the parent. A copy of the page tables would cost more than the
// rest of the start. The result is a pid, 0, or a negative errno.
func vfork() int

// cloneArgs is struct clone_args.
//
// Source: clone(2), "clone3()"; the field cgroup is from Linux 5.7.
type cloneArgs struct {
	flags, pidFD          uint64
	_, _                  uint64 // child_tid, parent_tid
	exitSignal            uint64
	stack, stackSize, tls uint64
	_, _                  uint64 // set_tid, set_tid_size
	cgroup                uint64
}
