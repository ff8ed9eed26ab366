package prestart

import (
	"syscall"

	"substrate/internal/version"
)

// shellMain is what substrate begins with. It is a variable because assembly can call no other function of
// the compiled kind.
//
//lint:ignore U1000 called by the assembly
var shellMain = func(stack *uintptr, kernel callFunc, spawn spawnFunc) {
	p := &the
	call, p.spawn = kernel, spawn
	if !p.take(stack) || !p.isPlainCommand() || !p.environ.read(p.envp) || !p.place() || !p.findShell() {
		return
	}
	if p.environ.inWorld {
		call(syscall.SYS_EXECVE, address(p.path), address(p.args), address(p.envp), 0)
		return // the ordinary route tries again, and says why it fails
	}
	if p.planShell() && p.start() {
		p.run()
	}
}

// planShell prepares the plain case of `substrate -c CMD`. Nothing is done that anybody could notice.
func (p *plan) planShell() bool {
	put, known := p.shimsReady()
	if !known {
		return false
	}
	p.first.reset()
	p.first.add("PATH=")
	var first bool
	p.original, first = shimsFirst(p.environ.path, p.shimDir.String(), &p.first, &p.rest)
	if p.first.full || p.rest.full || !p.ask() {
		return false
	}
	put = put && first
	if put {
		p.environ.putPath(p.first.ptr())
	}
	return p.hand(put) && p.describe()
}

// isPlainCommand says whether the command line is -c, alone or with the commonest of bash's other
// letters, a command, and perhaps its arguments, and certainly holds no secret. Called as a login shell
// we are not plain.
func (p *plan) isPlainCommand() bool {
	if p.argc < 3 {
		return false
	}
	flags, command := text(at(p.argv, 1)), text(at(p.argv, 2))
	if begins(text(at(p.argv, 0)), "-") || len(flags) < 2 || flags[0] != '-' || index(flags, 'c') < 0 {
		return false
	}
	for i := 1; i < len(flags); i++ {
		if !oneOf(flags[i], "celux") {
			return false
		}
	}
	if command != "" && (command[0] == '-' || command[0] == '+') { // an option more
		return false
	}
	return !p.mayHold(1)
}

// findShell decides which shell runs the command, as package config does.
func (p *plan) findShell() bool {
	shell := p.environ.shell
	p.found.reset()
	if shell != "" && !same(shell, defaultShell) && p.environ.depth < maxDepth {
		if index(shell, '/') < 0 {
			return false // to be looked for
		}
		p.found.add(shell)
		if stat(literal(ownProgram), &p.here) != 0 || p.found.full {
			return false
		}
		if stat(p.found.ptr(), &p.there) == 0 && p.here.Dev == p.there.Dev && p.here.Ino == p.there.Ino {
			p.found.reset() // $SHELL is this program
		}
	}
	if p.found.n == 0 {
		p.found.add(defaultShell)
	}
	p.path = p.found.ptr()
	p.name = base(p.found.String())
	// The shell gets its base name and our arguments. The words of argv are left alone, because this
	// may not be the plain case after all.
	if p.name == "" || p.argc >= len(p.script) {
		return false
	}
	p.script[0] = &p.found.buf[p.found.n-len(p.name)]
	for i := 1; i <= p.argc; i++ { // with the nil behind the last
		p.script[i] = at(p.argv, i)
	}
	p.args = &p.script[0]
	return true
}

const (
	defaultShell = "/bin/bash"
	maxDepth     = 32 // where $SHELL is no longer believed
)

// shimsReady says whether the shims are to stand first on PATH. It is not known if they have to
// be deployed.
//
// Source: package shim, Ensure.
func (p *plan) shimsReady() (put, known bool) {
	if p.environ.noShims {
		return false, true
	}
	stamped := readlink(p.inShims("/.stamp"), &p.rest)
	if stamped <= 0 && stamped != -int(syscall.ENOENT) || readlink(literal(ownProgram), &p.beside) <= 0 {
		return false, false
	}
	p.beside.cut(p.beside.n - len(base(p.beside.String())))
	found := stat(p.beside.add("substrate-shim").ptr(), &p.here)
	switch {
	case stamped > 0:
		return true, found == 0 && same(p.rest.String(), p.stamp())
	case found == -int(syscall.ENOENT) || stat(p.inShims(".removed"), &p.there) == 0:
		// There is nothing to deploy, or nobody wants it. An earlier deployment would be used.
		return false, stat(p.inShims("/.version"), &p.there) == -int(syscall.ENOENT)
	}
	return false, false
}

// ownProgram leads to the program that runs here.
const ownProgram = "/proc/self/exe\x00"

// inShims is the path of what lies in, or with another beginning beside, the directory of the shims.
func (p *plan) inShims(name string) *byte {
	p.link.reset()
	return p.link.add(p.shimDir.String()).add(name).ptr()
}

// stamp is what .stamp holds if the substrate-shim beside us is what was deployed.
//
// Source: package shim, stamp.
func (p *plan) stamp() string {
	st := &p.here
	m := &p.link
	m.reset()
	m.add(version.Version).add(":").number(int64(st.Dev)).add(":").number(int64(st.Ino)).add(":").number(st.Size)
	m.add(":").number(st.Mtim.Sec*1e9 + st.Mtim.Nsec).add(":").add(p.beside.String())
	return m.String()
}
