package prestart

import "syscall"

// Exit statuses for a program that cannot be run.
//
// Source: bash(1), EXIT STATUS.
const (
	statusFailure       = 125 // of ours
	statusNotExecutable = 126
	statusNotFound      = 127
)

// start writes the start line. If it says no nothing has been done.
func (p *plan) start() bool {
	if !p.file.open(&p.trace, p.environ.maxSize) {
		return false
	}
	if !p.signals.block() {
		p.file.close()
		return false
	}
	if !p.file.start(p.line.buf[p.begin:p.end]) {
		p.signals.forget(int(syscall.SIGXFSZ))
		p.signals.unblock()
		p.file.close()
		return false
	}
	return true
}

// run runs the program whose start line is written, writes the complete line and exits.
func (p *plan) run() {
	s := &p.signals
	status, signal := 0, 0
	s.noteEarly()
	pid := p.launch()
	if p.failed != 0 {
		s.usage = syscall.Rusage{}
		status = statusOf(p.failed)
	} else if got := s.wait(pid); got < 0 {
		p.failed, status = int64(got), statusFailure
	} else if signal = got & 0x7f; signal != 0 {
		status = 128 + signal
	} else {
		status = got >> 8 & 0xff
	}
	p.complete(status, signal, &s.usage)
	n, want := p.file.finish(p.line.buf[p.begin-1 : p.end])
	if n != want {
		p.warn(n, want)
	}
	if p.failed != 0 {
		p.sayFailed(status)
	}
	if signal == int(syscall.SIGINT) || signal != 0 && p.isShim {
		s.endBy(signal) // procstate.EndAsInterrupted and procstate.EndAsKilled say why
	}
	exit(status)
}

// launch starts the program. If our few variables are what makes the environment too long, the
// program gets the one that it would have had without us. A shim runs a script that names no
// interpreter as execvp(3) does; a shell sees to that by itself.
func (p *plan) launch() (pid int) {
	pid = p.try(p.path, p.args, &p.environ.out[0])
	switch p.failed {
	case -int64(syscall.ENOEXEC):
		if p.isShim {
			p.script[0], p.script[1] = literal(scriptShell), p.path
			for i := 1; i <= p.argc; i++ { // with the nil behind the last
				p.script[i+1] = at(p.argv, i)
			}
			pid = p.try(literal(scriptShell), &p.script[0], &p.environ.out[0])
		}
	case -int64(syscall.E2BIG):
		pid = p.try(p.path, p.args, p.envp)
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

// scriptShell is the path of the shell for scripts that name none.
const scriptShell = "/bin/sh\x00"

// statusOf is the exit status for a program that could not be executed.
func statusOf(errno int64) int {
	if errno == -int64(syscall.ENOENT) || errno == -int64(syscall.ENOTDIR) {
		return statusNotFound
	}
	return statusNotExecutable
}

// warn says that the span has no complete line, in the words of package record.
func (p *plan) warn(n, want int) {
	m := p.message("warning: ")
	m.add("this command is not recorded: ")
	if same(p.file.doing, writing) {
		m.add("append to trace: wrote ").number(int64(max(n, 0))).add(" of ").number(int64(want)).add(" bytes: ")
	}
	if n < 0 {
		m.add(p.file.doing).add(" ").add(p.trace.String()).add(": ").add(syscall.Errno(-n).Error())
	} else {
		m.add("short write")
	}
	p.say()
}

// sayFailed says why the program did not run, in the words of the ordinary route.
func (p *plan) sayFailed(status int) {
	var m *cstring
	if p.isShim {
		m = p.message(p.name).add(": ")
	} else {
		m = p.message("error: ")
	}
	if status == statusFailure {
		m.add("wait for it: ")
	} else {
		m.add("start ").add(text(p.path)).add(": ")
	}
	m.add(syscall.Errno(-p.failed).Error())
	p.say()
}

// message begins a line for standard error.
func (p *plan) message(kind string) *cstring {
	m := &p.link
	m.reset()
	if p.isShim {
		m.add("substrate-shim: ")
	} else {
		m.add("substrate: ")
	}
	return m.add(kind)
}

// say writes the line that message began.
func (p *plan) say() {
	p.link.add("\n")
	retry(syscall.SYS_WRITE, 2, address(p.link.ptr()), uintptr(p.link.n), 0)
}
