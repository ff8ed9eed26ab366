package worldinit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Namespaces says what the first process does not share with the host besides mounts, pids, IPC and
// host name.
type Namespaces struct {
	User   bool // a user namespace, for callers without a root's capabilities
	Net    bool
	Cgroup int // descriptor of the cgroup's directory that the process starts in; -1 for none

	// Wait is for kernels and seccomp filters that refuse clone3(2), with ENOSYS: the process is made by
	// clone(2), and waits until it has been attached to its cgroup and [Process.Go] is called.
	Wait bool
}

// Process is a running first process.
type Process struct {
	PID    int
	PidFD  int
	conn   int // our end of the report socket
	steps  []string
	stepOf []uint8
}

// ErrGone is returned by Receive when the first process died without a last message.
var ErrGone = errors.New("the first process of the world died")

// The child's stack holds the frames of interpret and what it calls, none of which can grow. Its thread-local storage
// is only looked at: the way from assembly to Go reads there, below the address that clone3(2) takes, which goroutine runs, and none does.
const (
	stackSize = 16 << 10
	tlsSize   = 64
)

// start forks the child. The calling thread must be locked and live as long as the
// child: PR_SET_PDEATHSIG is bound to it. conn is the supervisor's end of the report socket and
// peer the child's, which is closed here.
func (p *Program) start(ns Namespaces, conn, peer int) (*Process, error) {
	defer p.release()
	st := p.begin()
	stack, tls := p.bytes(stackSize), p.bytes(tlsSize)
	args, pidfd := p.cloneArgs(ns)
	if p.err != nil {
		_ = unix.Close(peer)
		return nil, p.err
	}
	pr := &Process{conn: conn, steps: p.steps, stepOf: make([]uint8, len(p.ops))}
	for i := range p.ops {
		pr.stepOf[i] = p.ops[i].step
	}
	var pid uintptr
	var errno syscall.Errno
	if ns.Wait {
		pid, errno = forkOld(uintptr(args.flags)|uintptr(args.exitSignal), pidfd, st)
	} else {
		args.flags |= unix.CLONE_CLEAR_SIGHAND | unix.CLONE_SETTLS
		args.stack, args.stackSize = uint64(addr(stack).val), stackSize
		args.tls = uint64(addr(tls).val) + tlsSize
		pid, errno = fork(args, st)
	}
	_ = unix.Close(peer)
	if errno != 0 {
		return nil, fmt.Errorf("clone: %w", errno)
	}
	pr.PID, pr.PidFD = int(pid), int(*pidfd)
	return pr, nil
}

// cloneArgs says what the child does not share, and where the kernel puts its descriptor. The kernel gets that address as a number, so what it
// points to must not lie on a stack of Go's, which moves.
func (p *Program) cloneArgs(ns Namespaces) (args *cloneArgs, pidfd *int32) {
	pidfd = place[int32](&p.memory)
	*pidfd = -1
	args = &cloneArgs{
		flags:      unix.CLONE_PIDFD | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		pidFD:      uint64(uintptr(unsafe.Pointer(pidfd))),
		exitSignal: uint64(unix.SIGCHLD),
	}
	if ns.User {
		args.flags |= unix.CLONE_NEWUSER
	}
	if ns.Net {
		args.flags |= unix.CLONE_NEWNET
	}
	if ns.Cgroup >= 0 {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(ns.Cgroup)
	}
	return args, pidfd
}

// Receive waits for the next message. Descriptors that came with it are returned with
// close-on-exec set. It returns ErrGone at the end.
func (pr *Process) Receive() (Message, []int, error) {
	var m Message
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m))
	oob := make([]byte, unix.CmsgSpace(8*4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(pr.conn, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNRESET {
			continue // the latter comes once, if it died before it had read all that it was sent; what it said is still to be read
		}
		if err != nil {
			return m, nil, os.NewSyscallError("recvmsg", err)
		}
		if n == 0 {
			return m, nil, ErrGone
		}
		if oobn == 0 {
			return m, nil, nil
		}
		fds, err := parseRights(oob[:oobn])
		return m, fds, err
	}
}

func parseRights(oob []byte) ([]int, error) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("read descriptors: %w", err)
	}
	var fds []int
	for i := range msgs {
		f, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			return nil, fmt.Errorf("read descriptors: %w", err)
		}
		fds = append(fds, f...)
	}
	return fds, nil
}

// Conn is the supervisor's end of the report socket, for poll(2).
func (pr *Process) Conn() int { return pr.conn }

// Step is the name of the step that the message's op belongs to.
func (pr *Process) Step(m Message) string {
	if int(m.Op) < len(pr.stepOf) {
		return pr.steps[pr.stepOf[m.Op]]
	}
	return "start"
}

// Go lets a process that waits begin.
func (pr *Process) Go() error {
	_, err := unix.Write(pr.conn, []byte{1})
	return os.NewSyscallError("write", err)
}

// Signal sends sig to the first process, which passes it on to the command's process
// group; [SignalTermAll] becomes a SIGTERM for everything in the world.
func (pr *Process) Signal(sig syscall.Signal) error {
	return unix.PidfdSendSignal(pr.PidFD, sig, nil, 0)
}

// Reap kills the first process, and with it the world, if it still runs, and waits for its
// end. When it returns no process of the world is left.
//
// Source: pid_namespaces(7), "The namespace init process".
func (pr *Process) Reap() error {
	_ = unix.PidfdSendSignal(pr.PidFD, unix.SIGKILL, nil, 0)
	var err error
	for {
		_, err = unix.Wait4(pr.PID, nil, 0, nil)
		if err != unix.EINTR {
			break
		}
	}
	_ = unix.Close(pr.PidFD)
	_ = unix.Close(pr.conn)
	return os.NewSyscallError("wait4", err)
}
