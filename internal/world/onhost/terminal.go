package onhost

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal hands the controlling terminal to a process group and takes it back. It is nil if we
// have none; then all methods do nothing.
type terminal struct {
	file *os.File
	own  int // our process group
}

// openTerminal returns the controlling terminal if we are in its foreground.
func openTerminal() *terminal {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	t := &terminal{file: f, own: unix.Getpgrp()}
	if !t.foreground() {
		_ = t.close()
		return nil
	}
	return t
}

// foreground reports whether our group is in the foreground now.
func (t *terminal) foreground() bool {
	pgrp, err := unix.IoctlGetInt(int(t.file.Fd()), unix.TIOCGPGRP)
	return err == nil && pgrp == t.own
}

// give makes the group of pid the foreground group. The command may have asked for the terminal
// before that and been stopped, so it gets a SIGCONT.
func (t *terminal) give(pid int) {
	if t == nil {
		return
	}
	if t.set(pid) == nil {
		_ = unix.Kill(-pid, unix.SIGCONT)
	}
}

// take makes our group the foreground group again.
func (t *terminal) take() error {
	if t == nil {
		return nil
	}
	// In the background the kernel answers tcsetpgrp with SIGTTOU unless that is ignored. The
	// command runs already, so it does not inherit that.
	signal.Ignore(syscall.SIGTTOU)
	defer signal.Reset(syscall.SIGTTOU)
	return t.set(t.own)
}

// stopWith stops us after the command of group pid was stopped, and continues both together.
// Without a terminal nobody could wake us, so only the command stops.
func (t *terminal) stopWith(pid int) {
	if t == nil {
		return
	}
	_ = t.take()
	_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
	if t.foreground() {
		_ = t.set(pid)
	}
	_ = unix.Kill(-pid, unix.SIGCONT)
}

// set is tcsetpgrp(3).
func (t *terminal) set(pgrp int) error {
	return unix.IoctlSetPointerInt(int(t.file.Fd()), unix.TIOCSPGRP, pgrp)
}

func (t *terminal) close() error {
	if t == nil {
		return nil
	}
	return t.file.Close()
}
