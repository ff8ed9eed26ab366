package onhost

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// terminal hands the controlling terminal to a process group and takes it back.
// A nil terminal is one that we do not have; all its methods do nothing.
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
		t.close()
		return nil
	}
	return t
}

// foreground says whether the terminal is ours at this moment.
func (t *terminal) foreground() bool {
	pgrp, err := unix.IoctlGetInt(int(t.file.Fd()), unix.TIOCGPGRP)
	return err == nil && pgrp == t.own
}

// give makes the group of pid the foreground group. The command may have asked for
// the terminal before that and been stopped, so it is told to go on.
func (t *terminal) give(pid int) {
	if t == nil {
		return
	}
	if t.set(pid) == nil {
		_ = unix.Kill(-pid, unix.SIGCONT)
	}
}

// take makes our group the foreground group again.
func (t *terminal) take() {
	if t == nil {
		return
	}
	// In the background the kernel answers tcsetpgrp with SIGTTOU unless it is
	// ignored. The command has been started by now, so it does not inherit that.
	signal.Ignore(syscall.SIGTTOU)
	_ = t.set(t.own)
	signal.Reset(syscall.SIGTTOU)
}

// stopWith stops us after the command of group pid was stopped, and lets both go on
// together. Without a terminal nobody could wake us, so only the command stops.
func (t *terminal) stopWith(pid int) {
	if t == nil {
		return
	}
	t.take()
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

// close gives the descriptor back.
func (t *terminal) close() {
	if t != nil {
		t.file.Close()
	}
}
