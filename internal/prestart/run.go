package prestart

import (
	"syscall"

	"substrate/internal/plain"
	"substrate/internal/procstate"
)

// Unfinished is the end of a command that ran before the runtime started, when the rest is not
// plain: the complete line could not be written at once, or the program could not be started.
type Unfinished struct {
	Line   []byte // the complete line, with its newline
	Exit   int
	Signal int           // that killed the program; 0 for none
	Err    syscall.Errno // why the program did not run; 0 if it did
	Path   string        // of the program; "" if waiting for it failed
}

// Rest returns what the ordinary route has to do for a command that has already run; nil if none
// has. All signals are blocked then.
func Rest() *Unfinished {
	if current.rest.Line == nil {
		return nil
	}
	return &current.rest
}

// isRecorded executes the program in place of this one if straight is true. It returns false if
// that fails: the ordinary route tries again, and reports why.
func (p *plan) isRecorded(straight bool) bool {
	if straight {
		call(syscall.SYS_EXECVE, address(p.path), address(p.args), address(p.envp), 0)
	}
	return !straight
}

// begin writes the start line. If it returns false nothing has been done, or the ordinary route
// writes the line again.
func (p *plan) begin() bool {
	if !p.file.open(&p.trace, p.environ.maxMB<<20) {
		return false
	}
	if p.signals.block() {
		if p.file.append(p.whole(plain.EventStart)) {
			p.file.lock(syscall.LOCK_UN)
			return true
		}
		p.signals.unblock(syscall.SIGXFSZ)
	}
	p.file.close()
	return false
}

// run runs the program whose start line is written, writes the complete line and exits. It returns
// if the ordinary route has to finish.
func (p *plan) run() {
	s := &p.signals
	rest := &p.rest
	call(syscall.SYS_RT_SIGPENDING, address(&s.first), setSize, 0, 0)
	pid := p.launch()
	if p.failed != 0 {
		rest.Err, rest.Path = syscall.Errno(-p.failed), p.found.String()
		rest.Exit = procstate.StartStatus(rest.Err)
	} else if got := s.wait(pid); got < 0 {
		rest.Err, rest.Exit = syscall.Errno(-got), plain.StatusFailure
	} else if rest.Signal = got & 0x7f; rest.Signal != 0 {
		rest.Exit = 128 + rest.Signal
	} else {
		rest.Exit = got >> 8 & 0xff
	}
	line := p.complete(rest.Exit, rest.Signal, &s.usage)
	if rest.Err != 0 || !p.file.again() || !p.file.append(line) {
		p.file.close() // and with that unlock
		rest.Line = line
		return
	}
	if rest.Signal == int(syscall.SIGINT) || rest.Signal != 0 && p.isShim {
		call(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0, 0)
		s.stopBy(rest.Signal) // and end; procstate.EndBy explains why
	}
	for {
		call(syscall.SYS_EXIT_GROUP, uintptr(rest.Exit), 0, 0, 0)
	}
}

// launch starts the program. If our few variables are what makes the environment too long, the
// program gets the one that it would have had without us. A shim runs a script that names no
// interpreter as execvp(3) does; a shell sees to that by itself.
func (p *plan) launch() (pid int) {
	pid = p.try(p.path, p.args, &p.environ.out[0])
	if p.failed == -int64(syscall.E2BIG) {
		return p.try(p.path, p.args, p.envp)
	}
	if p.failed == -int64(syscall.ENOEXEC) && p.isShim {
		shell := literal(plain.ScriptShell + "\x00")
		return p.try(shell, p.argvOf(shell, p.path), &p.environ.out[0])
	}
	return pid
}

// try starts a program. It sets failed.
func (p *plan) try(path *byte, argv, envp **byte) (pid int) {
	p.child = child{path: path, argv: argv, envp: envp, mask: p.signals.before}
	pid = int(p.spawn(&p.child))
	p.failed = p.child.failed
	if pid < 0 {
		p.failed = int64(pid)
	} else if p.failed != 0 {
		retry(syscall.SYS_WAIT4, uintptr(pid), 0, 0, 0)
	}
	return pid
}
