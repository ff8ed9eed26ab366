package prestart

import (
	"syscall"

	"substrate/internal/plain"
	"substrate/internal/version"
)

// shellMain is where substrate begins. It is a variable because assembly can call no other kind of
// compiled function.
//
//lint:ignore U1000 called by the assembly
var shellMain = func(stack *uintptr, kernel callFunc, spawn spawnFunc) {
	p := &current
	call, p.spawn = kernel, spawn
	if p.take(stack) && p.isPlainCommand() && p.environ.read(p.envp) && p.place() && p.findShell() &&
		p.isRecorded(p.environ.inWorld) && p.planShell() && p.begin() {
		p.run()
	}
}

// planShell prepares the plain case of `substrate -c CMD`. It does nothing that can be noticed.
func (p *plan) planShell() bool {
	put, known := p.shimsReady()
	if !known {
		return false
	}
	p.first.Reset(0).Raw(plain.VarPath + "=")
	original, first := plain.ShimsFirst(p.environ.path, p.shimDir.String(), &p.first, &p.without)
	entry := p.first.CString()
	if p.first.Full || p.without.Full || !p.ask() {
		return false
	}
	put = put && first
	if put {
		p.environ.putPath(entry)
	}
	p.start.Component = plain.ComponentShell
	p.start.Cmd, p.start.Shell, p.start.ShellArgs = p.argv[2], p.found.String(), p.argv[1:]
	return p.hand(put, original) && p.describe(original)
}

// isPlainCommand reports whether the command line is -c, perhaps with the most common other letters
// of bash, a command and its arguments, and holds no secret. A login shell is not plain.
func (p *plan) isPlainCommand() bool {
	if p.argc < 3 || plain.Begins(p.argv[0], "-") {
		return false
	}
	flags, command := p.argv[1], p.argv[2]
	if !plain.Begins(flags, "-") || plain.Index(flags, 'c') < 0 {
		return false
	}
	for i := 1; i < len(flags); i++ {
		if plain.Index("celux", flags[i]) < 0 {
			return false
		}
	}
	isOption := plain.Begins(command, "-") || plain.Begins(command, "+")
	return !isOption && !mayHold(p.argv[1:])
}

// findShell decides which shell runs the command, as package config does.
func (p *plan) findShell() bool {
	shell := p.environ.shell
	p.found.Reset(0)
	if shell != "" && !plain.Same(shell, plain.DefaultShell) && p.environ.depth < plain.MaxDepth {
		if plain.Index(shell, '/') < 0 {
			return false // the ordinary route looks for it
		}
		own := stat(literal(plain.OwnProgram+"\x00"), &p.here)
		found := stat(p.found.Raw(shell).CString(), &p.there)
		if own != 0 || p.found.Full {
			return false
		}
		if found == 0 && sameFile(&p.here, &p.there) { // $SHELL is this program
			p.found.Reset(0)
		}
	}
	if len(p.found.Bytes) == 0 {
		p.found.Raw(plain.DefaultShell)
	}
	p.path = p.found.CString()
	p.name = plain.Base(p.found.String())
	if p.name == "" {
		return false
	}
	p.args = p.argvOf(&p.found.Bytes[len(p.found.Bytes)-len(p.name)], nil)
	return true
}

// shimsReady reports whether to put the shims first on PATH. known is false if they have to be
// deployed.
//
// Source: package shim, Ensure.
func (p *plan) shimsReady() (put, known bool) {
	if p.environ.noShims {
		return false, true
	}
	stamped := readlink(p.beneath(plain.ShimsName+"/"+plain.StampName), &p.without)
	if stamped <= 0 && stamped != -int(syscall.ENOENT) || readlink(literal(plain.OwnProgram+"\x00"), &p.beside) <= 0 {
		return false, false
	}
	p.beside.Reset(len(p.beside.Bytes) - len(plain.Base(p.beside.String()))).Raw(plain.ShimProgram)
	found := stat(p.beside.CString(), &p.here)
	switch {
	case stamped > 0:
		return true, found == 0 && p.isDeployed(p.without.String())
	case found == -int(syscall.ENOENT) || stat(p.beneath(plain.RemovedName), &p.there) == 0:
		// There is nothing to deploy, or nobody wants it. An earlier deployment would be used.
		return false, stat(p.beneath(plain.ShimsName+"/"+plain.MetadataName), &p.there) == -int(syscall.ENOENT)
	}
	return false, false
}

// isDeployed reports whether the shims with this stamp stay: they lead to the program beside this
// one, or to one that is at least as new.
func (p *plan) isDeployed(stamp string) bool {
	st := &p.here
	own := p.link.Reset(0).Stamp(version.Version, plain.File{
		Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Sec*1e9 + st.Mtim.Nsec, Path: p.beside.String(),
	})
	if plain.Same(stamp, own.String()) {
		return !own.Full
	}
	other := plain.Newer(stamp, version.Version, p.beside.String())
	return other != "" && stat(p.link.Reset(0).Raw(other).CString(), &p.there) == 0 && p.there.Mode&0o111 != 0
}

// beneath is the path of a file in our directory in the home.
func (p *plan) beneath(name string) *byte {
	return p.link.Reset(0).Raw(p.environ.home).Raw("/" + plain.Dir + "/").Raw(name).CString()
}
