package world

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminal joins the caller's terminal to the PTY of a world: keys go in, output comes out, and a
// new window size is passed on. The caller's terminal is raw meanwhile, so that ^C and ^Z act
// inside the world as in any terminal.
type terminal struct {
	master *os.File
	in     *os.File
	before *term.State // of the caller's terminal, nil if in is none
	winch  chan os.Signal
	done   chan struct{} // closed when all output has been copied
}

// drainTimeout bounds the wait for the rest of the output: the caller's terminal may be stopped
// with ^S.
const drainTimeout = 2 * time.Second

// newTerminal starts to copy; the terminal owns the descriptor master from now on.
func newTerminal(master int, in, out *os.File) *terminal {
	_ = unix.SetNonblock(master, true)
	t := &terminal{
		master: os.NewFile(uintptr(master), "ptmx"), in: in,
		winch: make(chan os.Signal, 1), done: make(chan struct{}),
	}
	if state, err := term.MakeRaw(int(in.Fd())); err == nil {
		t.before = state
	}
	_ = t.resize()
	signal.Notify(t.winch, unix.SIGWINCH)
	go func() {
		for range t.winch {
			_ = t.resize()
		}
	}()
	go func() { _, _ = io.Copy(t.master, in) }() // ends with the process: a read of a terminal cannot be called off
	go func() {
		_, _ = io.Copy(out, t.master) // ends with EIO when the last process lets go of the PTY
		close(t.done)
	}()
	return t
}

// resize gives the PTY the size of the caller's terminal.
func (t *terminal) resize() error {
	ws, err := unix.IoctlGetWinsize(int(t.in.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return err
	}
	raw, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, ws) })
	return errors.Join(err, inner)
}

// close copies the rest of the output and restores the caller's terminal.
func (t *terminal) close() error {
	select {
	case <-t.done:
	case <-time.After(drainTimeout):
	}
	signal.Stop(t.winch)
	close(t.winch)
	var err error
	if t.before != nil {
		err = term.Restore(int(t.in.Fd()), t.before)
	}
	return errors.Join(err, t.master.Close())
}
