package boot

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/world/ops"
)

// state is what the interpreter needs besides the ops. Each process has its own. Addresses are
// numbers: to store a pointer may take a write barrier, which needs the runtime.
type state struct {
	ops     uintptr
	begin   int32   // index of the first op
	inbox   uintptr // where the next part comes
	regs    [ops.MaxRegs]uintptr
	lastErr int32
	command uintptr // pid of the command
	ended   bool    // the process exits with status
	status  uintptr
	msg     Message
	clone   cloneArgs // with which the command process is made
	results results
}

// results is memory for the results of system calls.
type results struct {
	info    [128]byte // siginfo_t
	buf     [8192]byte
	rusage  unix.Rusage
	iov     [2]uintptr // struct iovec
	hdr     msghdr
	control [256]byte
}

// The memory of the processes of a world, besides the parts.
var (
	//lint:ignore U1000 used by the assembly
	threadLocal             [128]byte
	initState, commandState state
	commandStack            [16<<10 + 16]byte // for the frames of interpret and what it calls
)

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

// cloneArgs is struct clone_args.
//
// Source: clone(2), "clone3()"; the field cgroup is from Linux 5.7.
type cloneArgs struct {
	flags               uint64
	_, _, _             uint64 // pidfd, child_tid, parent_tid
	exitSignal          uint64
	stack, stackSize, _ uint64 // tls
	_, _                uint64 // set_tid, set_tid_size
	cgroup              uint64
}

// pointer makes a pointer of an address.
//
//go:norace
//go:nosplit
//go:nocheckptr
func pointer(address *uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(address)) }

// interpret is the life of a process: it works through the ops and exits. Neither it nor anything
// it calls may grow the stack, allocate, or return.
//
//lint:ignore U1000 called by the assembly
//go:norace
//go:nosplit
func interpret(st *state) {
	run(st)
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, st.status, 0, 0)
	}
}

// run works through the ops until the process is to exit.
//
//go:norace
//go:nosplit
//go:nocheckptr
func run(st *state) {
	for pc := st.begin; !st.ended; {
		o := (*ops.Op)(unsafe.Add(pointer(&st.ops), uintptr(pc)*unsafe.Sizeof(ops.Op{})))
		var r uintptr
		var e syscall.Errno
		switch o.Kind {
		case ops.Call:
			r, _, e = syscall.RawSyscall6(o.Nr, arg(st, o, 0), arg(st, o, 1), arg(st, o, 2), arg(st, o, 3), arg(st, o, 4), arg(st, o, 5))
			if e != 0 && int32(e) == o.WantErr {
				e = 0
				if o.Skip != 0 {
					pc = o.Skip
					continue
				}
			}
		case ops.Jump:
			pc = o.OnErr
			continue
		case ops.Unless:
			if arg(st, o, 0) != 0 {
				pc = o.OnErr
				continue
			}
		case ops.Fork:
			if st.command = forkCommand(st, o); st.command == 0 {
				pc = o.OnErr // this is the command process, with a copy of everything
				continue
			}
		case ops.ReadPart:
			readPart(st, o.Args[0])
			pc = 0
			continue
		default:
			e = perform(st, o)
		}
		if e != 0 {
			st.lastErr = int32(e)
			if o.OnErr == ops.Fatal {
				fail(st, o.Step, e)
			}
			if o.OnErr >= 0 {
				pc = o.OnErr
				continue
			}
		} else if o.Dst != 0 {
			*reg(st, uintptr(o.Dst-1)) = r
		}
		if pc++; o.Next != 0 && e == 0 {
			pc = o.Next
		}
	}
}

// reg is a register.
//
//go:norace
//go:nosplit
//go:nocheckptr
func reg(st *state, n uintptr) *uintptr {
	return (*uintptr)(unsafe.Add(unsafe.Pointer(&st.regs), n%ops.MaxRegs*unsafe.Sizeof(n)))
}

// perform does what is neither a plain system call nor a jump.
//
//go:norace
//go:nosplit
//go:nocheckptr
func perform(st *state, o *ops.Op) syscall.Errno {
	switch o.Kind {
	case ops.CheckAlive:
		checkAlive(st)
	case ops.Ack:
		return acks(st, arg(st, o, 0))
	case ops.Poke:
		*(*int32)(target(o, 0)) = int32(arg(st, o, 1))
	case ops.Usage:
		m := (*Message)(target(o, 0))
		usage := &st.results.rusage
		syscall.RawSyscall(unix.SYS_GETRUSAGE, unix.RUSAGE_SELF, uintptr(unsafe.Pointer(usage)), 0)
		m.Utime, m.Stime = micros(&usage.Utime), micros(&usage.Stime)
	case ops.Bound:
		for c := uintptr(0); c < lastCap; c++ {
			if o.Args[0]&(1<<c) == 0 {
				syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
			}
		}
	case ops.ReportDone:
		report(st, MsgStep, o.Step, 0)
	case ops.ReportDegrade:
		report(st, MsgDegrade, o.Step, syscall.Errno(st.lastErr))
	case ops.Exec:
		report(st, MsgExec, o.Step, execute(o))
		end(st, 127)
	case ops.Init:
		beInit(st)
	}
	return 0
}

//go:norace
//go:nosplit
//go:nocheckptr
func arg(st *state, o *ops.Op, i uintptr) uintptr {
	v := *(*uintptr)(unsafe.Add(unsafe.Pointer(&o.Args), i*unsafe.Sizeof(uintptr(0))))
	if o.RegMask&(1<<i) != 0 {
		return *reg(st, v)
	}
	return v
}

// target is an argument that is an address.
//
//go:norace
//go:nosplit
//go:nocheckptr
func target(o *ops.Op, i uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(&o.Args), i*unsafe.Sizeof(uintptr(0))))
}

// end makes the process exit.
//
//go:norace
//go:nosplit
func end(st *state, status uintptr) { st.ended, st.status = true, status }

// checkAlive ends the process if the supervisor is gone: then the other end of the socket is
// closed.
//
//go:norace
//go:nosplit
func checkAlive(st *state) {
	n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, *reg(st, uintptr(regSocket)), uintptr(unsafe.Pointer(&st.results.buf)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	if e == 0 && n == 0 || e != 0 && e != syscall.EAGAIN {
		end(st, 125)
	}
}

//go:norace
//go:nosplit
func report(st *state, kind int32, step uint8, e syscall.Errno) {
	st.msg.Kind, st.msg.Step, st.msg.Errno = kind, int32(step), int32(e)
	send(st)
}

//go:norace
//go:nosplit
func send(st *state) {
	syscall.RawSyscall6(unix.SYS_SENDTO, *reg(st, uintptr(regSocket)), uintptr(unsafe.Pointer(&st.msg)), unsafe.Sizeof(st.msg), unix.MSG_NOSIGNAL, 0, 0)
}

//go:norace
//go:nosplit
func fail(st *state, step uint8, e syscall.Errno) {
	report(st, MsgFail, step, e)
	end(st, 125)
}

// cloneInto is clone3(2). The child begins in interpret, on the stack that args names.
//
//go:noescape
func cloneInto(args *cloneArgs, size uintptr, st *state) int

// forkCommand makes the command process and returns its number. The two share their memory until
// the new one becomes the command, as after vfork(2), but this one goes on; each has a state and a
// stack of its own. The new one starts in the cgroup whose directory is open. It starts in ours if
// the kernel refuses that for another reason than a lack of processes or memory, which the cgroup
// limits. Where there is no clone3(2), it is a copy of this process and goes on where this one
// does, with 0.
//
//go:norace
//go:nosplit
//go:nocheckptr
func forkCommand(st *state, o *ops.Op) uintptr {
	other := &commandState
	other.ops, other.begin, other.inbox = st.ops, o.OnErr, st.inbox
	for i := uintptr(0); i < ops.MaxRegs; i++ {
		*reg(other, i) = *reg(st, i)
	}
	args := &other.clone
	args.flags, args.exitSignal = unix.CLONE_VM, uint64(syscall.SIGCHLD)
	args.stack, args.stackSize = uint64(uintptr(unsafe.Pointer(&commandStack))+15)&^15, uint64(len(commandStack)-16)
	group := arg(st, o, 0)
	if group != 0 {
		args.flags, args.cgroup = args.flags|unix.CLONE_INTO_CGROUP, uint64(group)
	}
	pid := cloneInto(args, unsafe.Sizeof(*args), other)
	if pid < 0 && group != 0 && pid != -int(syscall.EAGAIN) && pid != -int(syscall.ENOMEM) {
		report(st, MsgDegrade, o.Step, syscall.Errno(-pid))
		args.flags, args.cgroup = unix.CLONE_VM, 0
		pid = cloneInto(args, unsafe.Sizeof(*args), other)
	}
	if pid == -int(syscall.ENOSYS) {
		copied, _, e := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		pid = int(copied)
		if e != 0 {
			pid = -int(e)
		}
	}
	if pid < 0 {
		fail(st, StepStart, syscall.Errno(-pid))
	}
	return uintptr(pid)
}

// readPart waits for the next part and puts its descriptors into the registers from first on. A
// process whose supervisor is gone gets none and exits.
//
//go:norace
//go:nosplit
//go:nocheckptr
func readPart(st *state, first uintptr) {
	head := (*ops.Head)(pointer(&st.inbox))
	got, fds := uintptr(0), uintptr(0)
	for got < unsafe.Sizeof(*head) || got < head.Size {
		in := &st.results
		in.iov[0], in.iov[1] = st.inbox+got, ops.Base+ops.Room-st.inbox-got
		in.hdr.iov, in.hdr.iovLen = uintptr(unsafe.Pointer(&in.iov)), 1
		in.hdr.control, in.hdr.controlLen = uintptr(unsafe.Pointer(&in.control)), unsafe.Sizeof(in.control)
		n, _, e := syscall.RawSyscall(unix.SYS_RECVMSG, *reg(st, uintptr(regSocket)), uintptr(unsafe.Pointer(&in.hdr)), unix.MSG_CMSG_CLOEXEC)
		if e == syscall.EINTR {
			continue
		}
		if e != 0 || n == 0 {
			end(st, 125)
			return
		}
		got += n
		fds += takeFDs(st, first+fds)
	}
	if fds != head.FDs {
		fail(st, StepStart, syscall.EMFILE)
	}
	st.ops, st.inbox = head.Ops, st.inbox+ops.Align(head.Size)
}

// takeFDs puts the descriptors of a message into registers and returns how many there are.
//
// Source: unix(7), SCM_RIGHTS; cmsg(3).
//
//go:norace
//go:nosplit
//go:nocheckptr
func takeFDs(st *state, first uintptr) uintptr {
	in := &st.results
	h := (*unix.Cmsghdr)(unsafe.Pointer(&in.control))
	if in.hdr.controlLen < unsafe.Sizeof(*h) || h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_RIGHTS {
		return 0
	}
	n := (uintptr(h.Len) - unsafe.Sizeof(*h)) / 4
	for i := uintptr(0); i < n && first+i < ops.MaxRegs; i++ {
		*reg(st, first+i) = uintptr(*(*int32)(unsafe.Add(unsafe.Pointer(h), unsafe.Sizeof(*h)+4*i)))
	}
	return n
}

// acks reads answers until none is left and returns the first error among them. No answer at all
// is an error too: the kernel ignores what it cannot parse.
//
//go:norace
//go:nosplit
//go:nocheckptr
func acks(st *state, fd uintptr) syscall.Errno {
	base := unsafe.Pointer(&st.results.buf)
	none := syscall.ENODATA
	for {
		n, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(base), unsafe.Sizeof(st.results.buf), unix.MSG_DONTWAIT, 0, 0)
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

// execute tries the candidates in turn as execvp(3) does: it goes on after one that may not be
// executed, and returns that error at the end. The arguments are the candidates, argv and the
// environment.
//
//go:norace
//go:nosplit
//go:nocheckptr
func execute(o *ops.Op) syscall.Errno {
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
