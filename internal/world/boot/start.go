package boot

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/world/ops"
)

// Process is the init process of a world, and through it all others.
type Process struct {
	pid, pidFD int
	conn       int // our end of the report socket
	user       bool
	p          *ops.Program
	ready      ops.Reg // of the command process: becomes readable when the network is ready
}

// The registers and steps of the first part.
const (
	regNoNet  ops.Reg = iota // not 0 if there is no network namespace
	regNet                   // descriptor of the network namespace, or one that cannot be open
	regSocket                // the report socket
	firstReg                 // the first that is free

	StepStart = 0
	StepNetns = 1
)

// ErrGone is returned by Receive when the processes of the world died without a last message.
var ErrGone = errors.New("the init process of the world died")

// Start starts an init process, with a user namespace of its own if user. It makes a network
// namespace and waits for [Process.Configure]. It dies with the supervisor. The caller must call
// [Process.Reap].
func Start(user bool) (*Process, error) {
	if err := hideInherited(); err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the report socket: %w", err)
	}
	peer := pair[1]
	if peer == initSocket { // dup3(2) refuses to copy a descriptor to itself
		peer, pair[0] = pair[0], peer
	}
	pr := &Process{conn: pair[0], user: user, p: ops.New(firstReg)}
	pr.firstPart()
	err = pr.send()
	if err == nil {
		pr.pid, pr.pidFD, err = startInit(user, peer)
	}
	_ = unix.Close(peer)
	if err != nil {
		_ = unix.Close(pr.conn)
		return nil, err
	}
	return pr, nil
}

// hideInherited keeps from the command what our caller left open. The init process closes that with
// close_range(2). Where that is refused, it is marked here, to be closed by execve(2).
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

// firstPart is what can be done before anything is known of the world.
func (pr *Process) firstPart() {
	p := pr.p
	p.Step("start")
	p.Call(unix.SYS_FCNTL, ops.FromReg(regSocket), ops.Num(unix.F_SETFD), ops.Num(unix.FD_CLOEXEC))
	p.Try(unix.SYS_CLOSE_RANGE, ops.Num(initSocket+1), ops.Num(^uint32(0)), ops.Num(0))
	// The kernel sends SIGIO when the supervisor's end of the socket closes. If that has happened
	// already, there is none.
	p.Call(unix.SYS_FCNTL, ops.FromReg(regSocket), ops.Num(unix.F_SETOWN), ops.Num(1))
	p.Call(unix.SYS_FCNTL, ops.FromReg(regSocket), ops.Num(unix.F_SETFL), ops.Num(unix.O_RDWR|unix.O_ASYNC))
	p.Add(ops.CheckAlive)
	p.Try(unix.SYS_UMASK, ops.Num(0))
	// What a terminal sends to the caller's process group the supervisor passes on; it must not
	// come twice. A session of its own would do the same, and cost a tenth of a short world where
	// the scheduler groups by session.
	p.Try(unix.SYS_SETPGID, ops.Num(0), ops.Num(0))
	// A caller may ignore SIGCHLD, and then a process has nothing to wait for.
	p.Try(unix.SYS_RT_SIGACTION, ops.Num(syscall.SIGCHLD), p.Zeros(32), ops.Num(0), ops.Num(8))
	p.Try(unix.SYS_CHDIR, p.Text("/"))
	p.Add(ops.Bound, ops.Num(keptBy(pr.user)))
	// The caller's session keyring would be read and filled through the world. Where the call is
	// refused, by a container's seccomp profile for one, so is every other use of keyrings.
	//
	// Source: keyctl_join_session_keyring(3); session-keyring(7).
	p.Try(unix.SYS_KEYCTL, ops.Num(unix.KEYCTL_JOIN_SESSION_KEYRING), ops.Num(0))
	p.Step("netns")
	p.Alternative(func() {
		p.Call(unix.SYS_UNSHARE, ops.Num(unix.CLONE_NEWNET))
		if !pr.user {
			p.Try(unix.SYS_OPENAT, ops.CWD, p.Text("/proc/self/ns/net"), ops.Num(unix.O_RDONLY|unix.O_CLOEXEC), ops.Num(0)).To(regNet)
		}
	}, func() {
		p.Add(ops.ReportDegrade)
		p.Call(unix.SYS_GETPID).To(regNoNet) // which is 1
	})
	p.Step("start")
	p.Add(ops.ReadPart, ops.Num(firstReg))
}

// PID is its number on the host.
func (pr *Process) PID() int { return pr.pid }

// NeedsGroup reports that the kernel, or a seccomp filter, refuses clone3(2): the init process
// cannot start the command process in another cgroup than its own. It has to be put into that of
// the world before Configure.
func (pr *Process) NeedsGroup() bool {
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
	return errno == unix.ENOSYS
}

// chunk is how much of a part goes into one message; the kernel wants memory for each in one go.
const chunk = 64 << 10

// send hands over a part, with descriptors that go to the registers that its receiver expects. It
// is no error if the process is gone: it has left a message that says why, or Receive returns
// ErrGone.
func (pr *Process) send(fds ...int) error {
	part, err := pr.p.Part(len(fds))
	if err != nil {
		return err
	}
	return pr.write(part, fds...)
}

// write sends a part in messages. The descriptors come with the first.
func (pr *Process) write(part []byte, fds ...int) error {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for len(part) > 0 {
		n := min(len(part), chunk)
		err := unix.Sendmsg(pr.conn, part[:n], rights, nil, unix.MSG_NOSIGNAL)
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

// Receive waits for the next message. Descriptors that came with it are returned with close-on-exec
// set. It returns ErrGone at the end.
func (pr *Process) Receive() (Message, []int, error) {
	var m Message
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m))
	oob := make([]byte, unix.CmsgSpace(8*4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(pr.conn, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR || err == unix.ECONNRESET {
			continue // the latter comes once, if it died before it had read everything; its messages follow
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

// Step is the name of the step that the message is about.
func (pr *Process) Step(m Message) string {
	if name := pr.p.StepName(int(m.Step)); name != "" {
		return name
	}
	return "start"
}

// Signal sends sig to the init process, which passes it on to the command's process group;
// [SignalTermAll] becomes a SIGTERM for everything in the world.
func (pr *Process) Signal(sig syscall.Signal) error {
	return unix.PidfdSendSignal(pr.pidFD, sig, nil, 0)
}

// Reap kills the init process, and with it the world, if it still runs, and waits for its end. When
// it returns no process of the world is left.
//
// Source: pid_namespaces(7), "The namespace init process".
func (pr *Process) Reap() error {
	_ = unix.PidfdSendSignal(pr.pidFD, unix.SIGKILL, nil, 0)
	err := waitFor(pr.pid)
	_ = unix.Close(pr.pidFD)
	_ = unix.Close(pr.conn)
	return err
}

// waitFor waits until a child has ended.
func waitFor(pid int) error {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return os.NewSyscallError("wait4", err)
		}
	}
}
