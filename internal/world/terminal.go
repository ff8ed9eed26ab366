package world

import (
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal joins the caller's terminal to the PTY of a world: keys go in, output comes
// out, and a new window size is passed on. The caller's terminal is raw meanwhile, so that ^C and ^Z
// mean inside what they mean in any terminal.
type terminal struct {
	master *os.File
	in     *os.File
	before *term.State // of the caller's terminal, nil if in is none
	winch  chan os.Signal
	done   chan struct{} // closed when all output has been copied
}

// drainTimeout bounds the wait for the rest of the output: the caller's terminal may be stopped with ^S.
const drainTimeout = 2 * time.Second

// newTerminal takes the master's descriptor over.
func newTerminal(master int, in, out *os.File) *terminal {
	_ = unix.SetNonblock(master, true)
	t := &terminal{
		master: os.NewFile(uintptr(master), "ptmx"), in: in,
		winch: make(chan os.Signal, 1), done: make(chan struct{}),
	}
	if state, err := term.MakeRaw(int(in.Fd())); err == nil {
		t.before = state
	}
	t.resize()
	signal.Notify(t.winch, unix.SIGWINCH)
	go func() {
		for range t.winch {
			t.resize()
		}
	}()
	go func() { _, _ = io.Copy(t.master, in) }() // ends with the process: a read of a terminal cannot be called off
	go func() {
		_, _ = io.Copy(out, t.master) // ends with EIO when the last process lets go of the PTY
		close(t.done)
	}()
	return t
}

func (t *terminal) resize() {
	if ws, err := unix.IoctlGetWinsize(int(t.in.Fd()), unix.TIOCGWINSZ); err == nil {
		_ = t.control(func(fd int) error { return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, ws) })
	}
}

func (t *terminal) control(f func(fd int) error) error {
	raw, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// close copies what output is left and gives the caller's terminal back as it was.
func (t *terminal) close() {
	select {
	case <-t.done:
	case <-time.After(drainTimeout):
	}
	signal.Stop(t.winch)
	close(t.winch)
	if t.before != nil {
		_ = term.Restore(int(t.in.Fd()), t.before)
	}
	_ = t.master.Close()
}
