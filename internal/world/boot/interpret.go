package boot

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// state is what the interpreter needs besides the ops. Each process has its own copy. Addresses are numbers: to store a pointer may be more than
// to store it while the supervisor collects garbage.
type state struct {
	ops     uintptr
	begin   int32   // index of the first op
	inbox   uintptr // where the next part comes
	room    uintptr // bytes from there to the end of the region
	regs    [MaxRegs]uintptr
	lastErr int32
	command uintptr   // pid of the command
	socket  uintptr   // the report socket
	second  uintptr   // state of the second process
	clone   cloneArgs // with which the process is made
	msg     Message
	info    [128]byte // siginfo_t
	buf     [8192]byte
	rusage  unix.Rusage
	iov     [2]uintptr // struct iovec
	hdr     msghdr
	control [256]byte
}

// msghdr is struct msghdr.
//
// Source: recvmsg(2).
type msghdr struct {
	name        uintptr
	nameLen     uint32
	iov, iovLen uintptr
	control     uintptr
	controlLen  uintptr
	flags       int32
}

// pointer makes a pointer of an address.
//
//go:norace
//go:nosplit
//go:nocheckptr
func pointer(address *uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(address)) }

// interpret works through the ops. Neither it nor anything it calls may grow the stack, allocate, or return.
//
//go:norace
//go:nosplit
//go:nocheckptr
func interpret(st *state) {
	pc := st.begin
	for {
		o := (*Op)(unsafe.Add(pointer(&st.ops), uintptr(pc)*unsafe.Sizeof(Op{})))
		var r uintptr
		var e syscall.Errno
		switch o.Kind {
		case OpCall:
			r, _, e = syscall.RawSyscall6(o.Nr, arg(st, o, 0), arg(st, o, 1), arg(st, o, 2), arg(st, o, 3), arg(st, o, 4), arg(st, o, 5))
			if e != 0 && int32(e) == o.WantErr {
				e = 0
				if o.Skip != 0 {
					pc = o.Skip
					continue
				}
			}
		case OpJump:
			pc = o.OnErr
			continue
		case OpUnless:
			if arg(st, o, 0) != 0 {
				pc = o.OnErr
				continue
			}
		case OpFork:
			if st.command = forkInto(st, o); st.command == 0 {
				pc = o.OnErr // we are the second, with a copy of everything
				continue
			}
		case OpPart:
			readPart(st, o)
			pc = 0
			continue
		default:
			e = perform(st, o)
		}
		if e != 0 {
			st.lastErr = int32(e)
			if o.OnErr == Fatal {
				fail(st, o, e)
			}
			if o.OnErr >= 0 {
				pc = o.OnErr
				continue
			}
		} else if o.Dst != 0 {
			*(*uintptr)(unsafe.Add(unsafe.Pointer(&st.regs), uintptr(o.Dst-1)*unsafe.Sizeof(r))) = r
		}
		if pc++; o.Next != 0 && e == 0 {
			pc = o.Next
		}
	}
}

// perform does what is neither a plain system call nor a jump.
//
//go:norace
//go:nosplit
//go:nocheckptr
func perform(st *state, o *Op) syscall.Errno {
	switch o.Kind {
	case OpAlive:
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, st.socket, uintptr(unsafe.Pointer(&st.buf)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		if e == 0 && n == 0 || e != 0 && e != syscall.EAGAIN {
			exit(125) // the other end is closed: the supervisor is gone
		}
	case OpAck:
		return acks(st, arg(st, o, 0))
	case OpPoke:
		*(*int32)(target(o, 0)) = int32(arg(st, o, 1))
	case OpUsage:
		m := (*Message)(target(o, 0))
		syscall.RawSyscall(unix.SYS_GETRUSAGE, unix.RUSAGE_SELF, uintptr(unsafe.Pointer(&st.rusage)), 0)
		m.Utime, m.Stime = micros(&st.rusage.Utime), micros(&st.rusage.Stime)
	case OpBound:
		for c := uintptr(0); c < lastCap; c++ {
			if o.Args[0]&(1<<c) == 0 {
				syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
			}
		}
	case OpStep:
		report(st, MsgStep, o, 0)
	case OpDegrade:
		report(st, MsgDegrade, o, syscall.Errno(st.lastErr))
	case OpExec:
		report(st, MsgExec, o, execute(o))
		exit(127)
	case OpInit:
		beInit(st)
	}
	return 0
}

// lastCap is above any capability that Linux has; dropping one that does not exist fails harmlessly.
const lastCap = 45

//go:norace
//go:nosplit
//go:nocheckptr
func arg(st *state, o *Op, i uintptr) uintptr {
	v := *(*uintptr)(unsafe.Add(unsafe.Pointer(&o.Args), i*unsafe.Sizeof(uintptr(0))))
	if o.RegMask&(1<<i) != 0 {
		return *(*uintptr)(unsafe.Add(unsafe.Pointer(&st.regs), v*unsafe.Sizeof(uintptr(0))))
	}
	return v
}

// target is an argument that is an address.
//
//go:norace
//go:nosplit
//go:nocheckptr
func target(o *Op, i uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(&o.Args), i*unsafe.Sizeof(uintptr(0))))
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
func report(st *state, kind int32, o *Op, e syscall.Errno) {
	st.msg.Kind, st.msg.Step, st.msg.Errno = kind, int32(o.Step), int32(e)
	send(st)
}

//go:norace
//go:nosplit
func send(st *state) {
	syscall.RawSyscall6(unix.SYS_SENDTO, st.socket, uintptr(unsafe.Pointer(&st.msg)), unsafe.Sizeof(st.msg), unix.MSG_NOSIGNAL, 0, 0)
}

//go:norace
//go:nosplit
func fail(st *state, o *Op, e syscall.Errno) {
	report(st, MsgFail, o, e)
	exit(125)
}

// forkInto makes the second process and returns its number. It shares our memory until it becomes the command, as after vfork(2), but we do
// not wait for that; it has a state and a stack of its own. It is in the cgroup whose directory is open, and in ours if the kernel refuses that
// for another reason than want of processes or memory, which are limited there. Where there is no clone3(2), it is a copy of us and goes on
// where we do, with 0.
//
//go:norace
//go:nosplit
//go:nocheckptr
func forkInto(st *state, o *Op) uintptr {
	second := (*state)(pointer(&st.second))
	second.ops, second.begin = st.ops, o.OnErr
	second.inbox, second.room, second.socket = st.inbox, st.room, st.socket
	for i := uintptr(0); i < MaxRegs; i++ {
		off := i * unsafe.Sizeof(uintptr(0))
		*(*uintptr)(unsafe.Add(unsafe.Pointer(&second.regs), off)) = *(*uintptr)(unsafe.Add(unsafe.Pointer(&st.regs), off))
	}
	args := &second.clone
	args.flags, args.exitSignal = unix.CLONE_VM, uint64(syscall.SIGCHLD)
	fd := arg(st, o, 0)
	if fd != 0 {
		args.flags, args.cgroup = args.flags|unix.CLONE_INTO_CGROUP, uint64(fd)
	}
	pid := forkOn(args, unsafe.Sizeof(*args), second)
	if pid < 0 && fd != 0 && pid != -int(syscall.EAGAIN) && pid != -int(syscall.ENOMEM) {
		report(st, MsgDegrade, o, syscall.Errno(-pid))
		args.flags, args.cgroup = unix.CLONE_VM, 0
		pid = forkOn(args, unsafe.Sizeof(*args), second)
	}
	if pid == -int(syscall.ENOSYS) {
		copied, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		pid = int(copied)
		if e != 0 {
			pid = -int(e)
		}
	}
	if pid < 0 {
		o.Step = StepStart
		fail(st, o, syscall.Errno(-pid))
	}
	return uintptr(pid)
}

// readPart waits for the next part. Its pointers are right where it is put, which is where the supervisor has written it. Without a
// supervisor there is none, and nothing to live for.
//
//go:norace
//go:nosplit
//go:nocheckptr
func readPart(st *state, o *Op) {
	part := (*Part)(pointer(&st.inbox))
	got, fds := uintptr(0), uintptr(0)
	for got < unsafe.Sizeof(Part{}) || got < part.Size {
		st.iov[0], st.iov[1] = st.inbox+got, st.room-got
		st.hdr.iov, st.hdr.iovLen = uintptr(unsafe.Pointer(&st.iov)), 1
		st.hdr.control, st.hdr.controlLen = uintptr(unsafe.Pointer(&st.control)), unsafe.Sizeof(st.control)
		n, _, e := syscall.RawSyscall(unix.SYS_RECVMSG, st.socket, uintptr(unsafe.Pointer(&st.hdr)), unix.MSG_CMSG_CLOEXEC)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 || n == 0 {
			exit(125)
		}
		got += n
		fds += takeFDs(st, o.Args[0]+fds)
	}
	if fds != part.FDs {
		fail(st, o, syscall.EMFILE)
	}
	size := (part.Size + pageSize - 1) &^ (pageSize - 1)
	st.ops, st.inbox, st.room = part.Ops, st.inbox+size, st.room-size
}

// takeFDs puts the descriptors of a message into registers and says how many there are.
//
// Source: unix(7), SCM_RIGHTS; cmsg(3).
//
//go:norace
//go:nosplit
//go:nocheckptr
func takeFDs(st *state, reg uintptr) uintptr {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&st.control))
	if st.hdr.controlLen < unsafe.Sizeof(*h) || h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_RIGHTS {
		return 0
	}
	n := (uintptr(h.Len) - unsafe.Sizeof(*h)) / 4
	for i := uintptr(0); i < n && reg+i < MaxRegs; i++ {
		fd := *(*int32)(unsafe.Add(unsafe.Pointer(&st.control), unsafe.Sizeof(*h)+4*i))
		*(*uintptr)(unsafe.Add(unsafe.Pointer(&st.regs), (reg+i)*unsafe.Sizeof(uintptr(0)))) = uintptr(fd)
	}
	return n
}

// acks reads answers until none is left and returns the first error among them. No answer at all
// is an error too: the kernel passes over in silence what it cannot parse.
//
//go:norace
//go:nosplit
//go:nocheckptr
func acks(st *state, fd uintptr) syscall.Errno {
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
// executed is passed over, but remembered. The op's arguments are the candidates, argv and the environment.
//
//go:norace
//go:nosplit
//go:nocheckptr
func execute(o *Op) syscall.Errno {
	worst := syscall.ENOENT
	for p := target(o, 0); ; p = unsafe.Add(p, unsafe.Sizeof(uintptr(0))) {
		path := *(*uintptr)(p)
		if path == 0 {
			return worst
		}
		_, _, e := syscall.RawSyscall(unix.SYS_EXECVE, path, o.Args[1], o.Args[2])
		switch e {
		case syscall.ENOENT, syscall.ENOTDIR:
		case syscall.EACCES:
			worst = e
		default:
			return e
		}
	}
}
