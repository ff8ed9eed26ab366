package prestart

import (
	"syscall"

	"substrate/internal/plain"
)

// shimMain is where substrate-shim begins.
//
//lint:ignore U1000 called by the assembly
var shimMain = func(stack *uintptr, kernel callFunc, spawn spawnFunc) {
	p := &current
	call, p.spawn = kernel, spawn
	p.isShim = true
	if p.take(stack) && p.environ.read(p.envp) && p.place() && p.findProgram() &&
		p.isRecorded(p.environ.bypass || p.environ.inWorld) && p.planShim() && p.begin() {
		p.run()
	}
}

// planShim prepares the plain case of a shim. It does nothing that can be noticed.
func (p *plan) planShim() bool {
	if mayHold(p.argv) || !p.ask() {
		return false
	}
	original, _ := plain.ShimsFirst(p.environ.path, p.shimDir.String(), p.link.Reset(0), &p.without)
	p.start.Component = plain.ComponentShim
	from := len(p.texts.Bytes)
	p.texts.Quote(p.argv)
	p.start.Cmd, p.start.Argv, p.start.ResolvedPath = p.cut(from), p.argv, p.found.String()
	return !p.without.Full && p.hand(p.environ.original == "" && p.environ.path != "", original) && p.describe(original)
}

// findProgram finds the program that this shim stands for. The ordinary route also knows what was
// noted when the shims were deployed.
//
// Source: SHM5; package shim, find.
func (p *plan) findProgram() bool {
	p.name = plain.Base(p.argv[0])
	if p.name == "" || stat(literal(plain.OwnProgram+"\x00"), &p.here) != 0 {
		return false
	}
	first, second := p.environ.original, p.environ.path
	if p.environ.session != "" {
		first, second = second, first
	}
	if !p.along(first) && !p.along(second) {
		return false
	}
	p.args = p.rawArgv
	if plain.Begins(p.name, plain.Python) { // gets its path; see package shim, withOwnName
		p.args = p.argvOf(p.path, nil)
		return plain.Same(p.argv[0], p.name)
	}
	return true
}

// along looks for the program in the directories of a PATH.
func (p *plan) along(path string) bool {
	for from := 0; path != "" && from <= len(path); {
		var dir string
		dir, from = plain.Part(path, from, ':')
		if dir == "" {
			dir = "."
		}
		if plain.Same(plain.Trimmed(dir), p.shimDir.String()) {
			continue
		}
		p.path = p.found.Reset(0).Raw(dir).Byte('/').Raw(p.name).CString()
		if !p.found.Full && p.acceptable() {
			return true
		}
	}
	return false
}

// acceptable reports whether what was found is an executable file and no shim. It follows a link to
// its end, because that may lead to a shim of another installation.
func (p *plan) acceptable() bool {
	st := &p.there
	if stat(p.path, st) != 0 || st.Mode&syscall.S_IFMT != syscall.S_IFREG || sameFile(st, &p.here) {
		return false
	}
	if call(sysFaccessat2, atFdcwd, address(p.path), accessExecute, atEaccess) != 0 {
		return false
	}
	n := readlink(p.path, &p.link)
	if n == -int(syscall.EINVAL) { // not a link
		return true
	}
	if n < 0 || plain.Same(plain.Base(p.link.String()), plain.ShimProgram) {
		return false
	}
	fd := retry(syscall.SYS_OPENAT, atFdcwd, address(p.path), openPath|syscall.O_CLOEXEC, 0)
	if fd < 0 {
		return false
	}
	n = readlink(p.link.Reset(0).Raw("/proc/self/fd/").Int(int64(fd)).CString(), &p.without)
	call(syscall.SYS_CLOSE, uintptr(fd), 0, 0, 0)
	return n > 0 && !plain.Same(plain.Base(p.without.String()), plain.ShimProgram)
}
