package boot

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Process is the first process of a world, and through it all others.
type Process struct {
	born *Born
	user bool
	p    *program

	ready Reg // of the second process: becomes readable when the network is ready
}

// ErrGone is returned by Receive when the processes of the world died without a last message.
var ErrGone = errors.New("the init process of the world died")

// Start starts a first process, with a user namespace of its own if user. It makes a network namespace, and waits
// for [Process.Configure]. The calling goroutine is locked to its thread until it calls [Process.Reap].
func Start(user bool) (*Process, error) {
	born, err := Birth(user, keptBy(user))
	if err != nil {
		return nil, err
	}
	return &Process{born: born, user: user, p: newProgram(born.Parts())}, nil
}

// PID is its number on the host.
func (pr *Process) PID() int { return pr.born.PID }

// NeedsGroup says that it cannot make a process in another cgroup than its own: it has to be put into the world's before Configure.
func (pr *Process) NeedsGroup() bool { return pr.born.Old }

// Receive waits for the next message. Descriptors that came with it are returned with
// close-on-exec set. It returns ErrGone at the end.
func (pr *Process) Receive() (Message, []int, error) {
	var m Message
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m))
	oob := make([]byte, unix.CmsgSpace(8*4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(pr.born.Conn, buf, oob, unix.MSG_CMSG_CLOEXEC)
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
func (pr *Process) Conn() int { return pr.born.Conn }

// Step is the name of the step that the message is about.
func (pr *Process) Step(m Message) string {
	if int(m.Step) < len(pr.p.steps) {
		return pr.p.steps[m.Step]
	}
	return "start"
}

// Signal sends sig to the first process, which passes it on to the command's process
// group; [SignalTermAll] becomes a SIGTERM for everything in the world.
func (pr *Process) Signal(sig syscall.Signal) error {
	return unix.PidfdSendSignal(pr.born.PidFD, sig, nil, 0)
}

// Reap kills the first process, and with it the world, if it still runs, and waits for its
// end. When it returns no process of the world is left.
func (pr *Process) Reap() error { return pr.born.Reap() }
