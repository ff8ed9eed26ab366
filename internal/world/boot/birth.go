package boot

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Born is a first process that has been born and waits for its second part.
type Born struct {
	PID    int
	PidFD  int
	Conn   int // our end of the report socket
	Region *Region

	tied bool // the goroutine is locked to the thread that the process dies with

	// Old says that the kernel, or a seccomp filter, refuses clone3(2): a process cannot be born into a cgroup, and has to be put there.
	Old bool
}

// The three hooks with which package syscall brackets its own fork. gVisor's sentry links
// to them for the same purpose, and the runtime lists them as used from outside.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// Birth bears a first process, in a user namespace of its own with user, whose descendants can have the capabilities in bounds and no others.
// As it dies with the thread that bears it, the calling goroutine is locked to its thread until it calls [Born.Reap], unless that is the main
// thread, which lasts as long as the program.
func Birth(user bool, bounds uint64) (*Born, error) {
	if err := hideInherited(); err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the report socket: %w", err)
	}
	defer unix.Close(pair[1]) //nolint:errcheck // nothing was written
	b := &Born{Conn: pair[0]}
	if b.Region, err = reserve(); err == nil {
		b.Region.begin(uintptr(pair[0]), uintptr(pair[1]), user, bounds)
		if err = b.fork(); err == nil {
			return b, nil
		}
		b.Region.release()
	}
	_ = unix.Close(pair[0])
	return nil, err
}

// hideInherited keeps from the command what our caller left open. The first process closes that with close_range(2), and where that is
// refused it is marked here, to be closed when the command is executed.
func hideInherited() error {
	const none = ^uint(0) >> 32 // above all descriptors
	if unix.CloseRange(none, none, 0) == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open descriptors: %w", err)
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// fork makes the process.
func (b *Born) fork() error {
	r := b.Region
	pid, errno := fork(r, true)
	if errno == elsewhere {
		b.tie()
		pid, errno = fork(r, false)
	}
	if errno == syscall.ENOSYS {
		b.tie()
		b.Old = true
		pid, errno = forkOld(r)
	}
	if errno != 0 {
		b.untie()
		return fmt.Errorf("clone: %w", errno)
	}
	b.PID, b.PidFD = int(pid), int(r.pidFD)
	r.keepFromChildren()
	return nil
}

// elsewhere is what fork returns if it would have to fork from another than the main thread.
const elsewhere = syscall.EDEADLK

// fork makes the child with clone3(2), on a stack of its own and without the Go heap, with onMain only from the main thread. In the
// parent it returns the child's pid.
//
//go:norace
//go:noinline
func fork(region *Region, onMain bool) (pid uintptr, errno syscall.Errno) {
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	var r int
	withoutHeap(func() {
		first := &region.state[0]
		beforeFork() // from here on the goroutine stays where it is
		tid, _, _ := syscall.RawSyscall(unix.SYS_GETTID, 0, 0, 0)
		process, _, _ := syscall.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
		r = -int(elsewhere)
		if tid == process || !onMain {
			r = forkOn(&first.clone, unsafe.Sizeof(first.clone), first)
		}
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
func forkOn(args *cloneArgs, size uintptr, st *state) int

// forkOld is fork for kernels and seccomp filters that refuse clone3(2). The child goes on with a copy of everything.
//
//go:norace
//go:noinline
func forkOld(region *Region) (pid uintptr, errno syscall.Errno) {
	const since5 = unix.CLONE_CLEAR_SIGHAND | unix.CLONE_SETTLS // one does not exist here, of the other we have our own
	syscall.ForkLock.Lock()                                     // another may be about to fork without the heap, which this child needs
	defer syscall.ForkLock.Unlock()
	flags := uintptr(region.state[0].clone.flags)&^since5 | uintptr(syscall.SIGCHLD)
	beforeFork()
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, flags, 0, uintptr(unsafe.Pointer(&region.pidFD)), 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		return pid, errno
	}
	afterForkInChild()
	interpret(&region.state[0])
	return 0, 0 // not reached
}

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

// begin fills a region that is all zero.
func (r *Region) begin(conn, peer uintptr, user bool, bounds uint64) {
	first, second := &r.state[0], &r.state[1]
	first.clone.flags = unix.CLONE_PIDFD | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS |
		unix.CLONE_CLEAR_SIGHAND | unix.CLONE_SETTLS
	if user {
		first.clone.flags |= unix.CLONE_NEWUSER
	}
	first.clone.pidFD, first.clone.exitSignal = uint64(uintptr(unsafe.Pointer(&r.pidFD))), uint64(syscall.SIGCHLD)
	for i := range r.state {
		r.state[i].clone.stack, r.state[i].clone.stackSize = uint64(uintptr(unsafe.Pointer(&r.stacks[i]))), stackSize
	}
	first.clone.tls = uint64(uintptr(unsafe.Pointer(&r.tls))) + tlsSize
	first.socket, first.second = peer, uintptr(unsafe.Pointer(second))
	first.ops = uintptr(unsafe.Pointer(&r.ops))
	first.regs[RegNet] = ^uintptr(0) // closed is what it stands for
	first.inbox, first.room = uintptr(unsafe.Pointer(r))+partsAt, regionSize-partsAt
	r.firstPart(conn, peer, user, bounds)
}

// firstPart is what can be done before anything is known of the world.
func (r *Region) firstPart(conn, peer uintptr, user bool, bounds uint64) {
	const all = ^uint64(0)
	mask, zeros := &r.state[0].info, &r.state[0].buf // which are not used before; zeros are SIG_DFL
	*(*uint64)(unsafe.Pointer(mask)) = all
	const atFDCWD = ^uintptr(99)

	l := list{at: unsafe.Pointer(&r.ops)}
	l.call(unix.SYS_RT_SIGPROCMASK, unix.SIG_BLOCK, uintptr(unsafe.Pointer(mask)), 0, 8).OnErr = Fatal
	l.call(unix.SYS_UMASK, 0, 0, 0, 0)
	// What a terminal sends to the caller's process group the supervisor passes on; it must not come twice.
	// A session of its own would do the same, and cost a tenth of a short world where the scheduler groups by session.
	l.call(unix.SYS_SETPGID, 0, 0, 0, 0)
	// A caller may ignore SIGCHLD, and then a process has nothing to wait for.
	l.call(unix.SYS_RT_SIGACTION, uintptr(syscall.SIGCHLD), uintptr(unsafe.Pointer(zeros)), 0, 8)
	l.call(unix.SYS_CLOSE, conn, 0, 0, 0)
	if peer > 3 {
		l.call(unix.SYS_CLOSE_RANGE, 3, peer-1, 0, 0)
	}
	l.call(unix.SYS_CLOSE_RANGE, peer+1, 0xffffffff, 0, 0)
	// The end of the supervisor's thread is the end of the world; if it came before this, our socket tells.
	l.call(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0).OnErr = Fatal
	l.add(OpAlive)
	l.call(unix.SYS_CHDIR, cString("/\x00"), 0, 0, 0)
	l.add(OpBound).Args[0] = uintptr(bounds)
	// The caller's session keyring would be read and filled through the world. Where the call is refused, by a
	// container's seccomp profile for one, so is every other use of keyrings.
	//
	// Source: keyctl_join_session_keyring(3); session-keyring(7).
	l.call(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0)

	l.step = StepNetns
	unshare := l.call(unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0, 0)
	if !user {
		l.call(unix.SYS_OPENAT, atFDCWD, cString("/proc/self/ns/net\x00"), unix.O_RDONLY|unix.O_CLOEXEC, 0).Dst = RegNet + 1
	}
	jump := l.add(OpJump)
	unshare.OnErr = l.n
	l.add(OpDegrade)
	l.call(unix.SYS_GETPID, 0, 0, 0, 0).Dst = RegNoNet + 1 // which is 1
	jump.OnErr = l.n
	l.step = StepStart
	l.add(OpPart).Args[0] = FirstReg
}

// cString is the address of a constant with a zero at its end.
func cString(s string) uintptr { return uintptr(unsafe.Pointer(unsafe.StringData(s))) }

// list is the first part while it is written.
type list struct {
	at   unsafe.Pointer
	n    int32
	step uint8
}

// add appends an op.
func (l *list) add(kind int32) *Op {
	o := (*Op)(unsafe.Add(l.at, uintptr(l.n)*unsafe.Sizeof(Op{})))
	o.Kind, o.OnErr, o.Step = kind, Next, l.step
	l.n++
	return o
}

// call appends a system call whose failure changes nothing.
func (l *list) call(nr, a, b, c, d uintptr) *Op {
	o := l.add(OpCall)
	o.Nr, o.Args = nr, [6]uintptr{a, b, c, d}
	return o
}

// Parts is the memory for all parts but the first, at the addresses that the process has reserved too.
func (b *Born) Parts() []byte { return b.Region.bytes()[partsAt:] }

// Peer is the descriptor of the report socket in the process.
func (b *Born) Peer() int { return int(b.Region.state[0].socket) }

// Align rounds up to where the next part begins.
func Align(n int) int { return (n + pageSize - 1) &^ (pageSize - 1) }

// keepFromChildren sees to it that children of the supervisor do not get its copy of the region.
//
// Source: madvise(2), MADV_DONTFORK.
func (r *Region) keepFromChildren() {
	_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, uintptr(unsafe.Pointer(r)), regionSize, unix.MADV_DONTFORK)
}

// chunk is how much of a part goes into one message; the kernel wants memory for each in one go.
const chunk = 64 << 10

// Send hands over a part that was written at the beginning of part, which is what is left of Parts. A process that is gone is no error: it has left
// word why, or it is found missing.
func (b *Born) Send(part []byte, fds ...int) error {
	rights := unix.UnixRights(fds...)
	if len(fds) == 0 {
		rights = nil
	}
	for len(part) > 0 {
		n := min(len(part), chunk)
		err := unix.Sendmsg(b.Conn, part[:n], rights, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			return nil
		}
		if err != nil {
			return os.NewSyscallError("sendmsg", err)
		}
		part, rights = part[n:], nil
	}
	return nil
}

// Reap kills the process, and with it the world, if it still runs, and waits for its
// end. When it returns no process of the world is left.
//
// Source: pid_namespaces(7), "The namespace init process".
func (b *Born) Reap() error {
	_ = unix.PidfdSendSignal(b.PidFD, unix.SIGKILL, nil, 0)
	err := waitFor(b.PID)
	_ = unix.Close(b.PidFD)
	_ = unix.Close(b.Conn)
	b.Region.release()
	b.untie()
	return err
}

// tie locks the goroutine to its thread, which is not free: it starts another.
func (b *Born) tie() {
	if !b.tied {
		b.tied = true
		runtime.LockOSThread()
	}
}

func (b *Born) untie() {
	if b.tied {
		runtime.UnlockOSThread()
	}
}

// waitFor waits until a child has ended.
func waitFor(pid int) error {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return os.NewSyscallError("wait4", err)
		}
	}
}
