package prestart

import "syscall"

// shimMain is what substrate-shim begins with.
//
//lint:ignore U1000 called by the assembly
var shimMain = func(stack *uintptr, kernel callFunc, spawn spawnFunc) {
	p := &the
	call, p.spawn = kernel, spawn
	p.isShim = true
	if !p.take(stack) || !p.environ.read(p.envp) || !p.place() || !p.findProgram() {
		return
	}
	if p.environ.bypass || p.environ.inWorld {
		call(syscall.SYS_EXECVE, address(p.path), address(p.args), address(p.envp), 0)
		return // the ordinary route tries again, and says why it fails
	}
	if p.planShim() && p.start() {
		p.run()
	}
}

// planShim prepares the plain case of a shim. Nothing is done that anybody could notice.
func (p *plan) planShim() bool {
	if p.mayHold(0) || !p.ask() {
		return false
	}
	p.original, _ = shimsFirst(p.environ.path, p.shimDir.String(), nil, &p.rest)
	return !p.rest.full && p.hand(p.environ.original == "" && p.environ.path != "") && p.describe()
}

// findProgram finds the program that this shim stands for. What deploy noted is left to
// the ordinary route.
//
// Source: SHM5; package shim, find.
func (p *plan) findProgram() bool {
	p.name = base(text(at(p.argv, 0)))
	if p.name == "" || stat(literal(ownProgram), &p.here) != 0 {
		return false
	}
	p.path = p.found.ptr()
	first, second := p.environ.original, p.environ.path
	if p.environ.session != "" {
		first, second = second, first
	}
	return p.setArgs() && (p.along(first) || p.along(second))
}

// setArgs decides what the program gets as argv: our own, but for Python.
//
// Source: package shim, withOwnName.
func (p *plan) setArgs() bool {
	p.args = p.argv
	if !begins(p.name, "python") {
		return true
	}
	if !same(text(at(p.argv, 0)), p.name) {
		return false
	}
	p.script[0] = p.path
	for i := 1; i <= p.argc; i++ { // with the nil behind the last
		p.script[i] = at(p.argv, i)
	}
	p.args = &p.script[0]
	return true
}

// along looks for the program in the directories of a PATH.
func (p *plan) along(path string) bool {
	if path == "" {
		return false
	}
	for begin := 0; begin <= len(path); {
		end := begin
		for end < len(path) && path[end] != ':' {
			end++
		}
		dir := path[begin:end]
		begin = end + 1
		if dir == "" {
			dir = "."
		}
		if same(trimSlashes(dir), p.shimDir.String()) {
			continue
		}
		p.found.reset()
		p.found.add(dir).add("/").add(p.name)
		if !p.found.full && p.acceptable() {
			return true
		}
	}
	return false
}

// acceptable says whether what was found is an executable file and no shim. A link is followed to
// its end, because it may lead to a shim of another installation.
func (p *plan) acceptable() bool {
	st := &p.there
	if stat(p.path, st) != 0 || st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Dev == p.here.Dev && st.Ino == p.here.Ino {
		return false
	}
	if call(sysFaccessat2, atFdcwd, address(p.path), accessExecute, atEaccess) != 0 {
		return false
	}
	n := readlink(p.path, &p.link)
	if n == -int(syscall.EINVAL) { // no link
		return true
	}
	if n < 0 || same(base(p.link.String()), "substrate-shim") {
		return false
	}
	fd := retry(syscall.SYS_OPENAT, atFdcwd, address(p.path), openPath|syscall.O_CLOEXEC, 0)
	if fd < 0 {
		return false
	}
	p.link.reset()
	p.link.add("/proc/self/fd/").number(int64(fd))
	n = readlink(p.link.ptr(), &p.rest)
	call(syscall.SYS_CLOSE, uintptr(fd), 0, 0, 0)
	return n > 0 && !same(base(p.rest.String()), "substrate-shim")
}
