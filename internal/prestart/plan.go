package prestart

import (
	"syscall"
	"unsafe"

	"substrate/internal/redact"
)

// plan is one command: what was given, what is run, and what is recorded. There is one, in memory
// that is part of the program, and only what is written to takes up pages of it.
type plan struct {
	argc int
	argv **byte
	envp **byte

	random    [2]uint64 // fresh in every process
	uid, gid  int64     // effective
	isShim    bool
	spawn     spawnFunc
	child     child
	name      string // what the children call the command
	path      *byte  // of the program that is executed
	args      **byte // its argv
	mode      int64  // umask
	began     syscall.Timespec
	now       syscall.Timespec
	session   idText
	span      idText
	sessionID string
	failed    int64  // why the program could not be executed: -errno, or 0
	original  string // PATH without the shims

	begin, common, end int // of the line, of what both lines have in common without their heads, and of the line

	shimDir, trace cstring
	found, beside  cstring // the program, and the shim that belongs to us
	cwd            cstring
	first, rest    cstring // PATH for the program as an entry, and without the shims
	link           cstring // for what is needed only a moment

	signals     signals
	file        traceFile
	host        syscall.Utsname
	here, there syscall.Stat_t
	environ     environ
	short       [5][maxPath]byte
	long        [3][maxList]byte
	exports     [maxList]byte      // entries that the program gets besides
	script      [maxArgs + 4]*byte // argv of a program that is started otherwise than by our own
	line        line
}

// Sizes of buffers: of a path, and of a list of them or of anything long.
const (
	maxPath = 1024
	maxList = 16 << 10
)

// maxArgs is the number of arguments that a program may have here.
const maxArgs = 4096

// the is the plan of this process.
var the plan

// Types in the auxiliary vector.
//
// Source: getauxval(3); linux/auxvec.h.
const (
	auxEUID   = 12
	auxEGID   = 14
	auxRandom = 25
)

// take notes what the kernel put on the stack: argc, the arguments, nil, the environment, nil,
// and pairs of a type and a value.
func (p *plan) take(stack *uintptr) bool {
	for i, c := range [...]*cstring{&p.shimDir, &p.trace, &p.found, &p.beside, &p.cwd} {
		c.buf = p.short[i][:]
	}
	for i, c := range [...]*cstring{&p.first, &p.rest, &p.link} {
		c.buf = p.long[i][:]
	}
	p.argc = int(*stack)
	p.argv = (**byte)(unsafe.Add(unsafe.Pointer(stack), 8))
	if p.argc < 1 || p.argc > maxArgs {
		return false
	}
	p.envp = (**byte)(unsafe.Add(unsafe.Pointer(p.argv), 8*(p.argc+1)))
	n := 0
	for at(p.envp, n) != nil {
		n++
	}
	pair := unsafe.Add(unsafe.Pointer(p.envp), 8*(n+1))
	found := 0
	for ; *(*uintptr)(pair) != 0; pair = unsafe.Add(pair, 16) {
		value := unsafe.Add(pair, 8)
		switch *(*uintptr)(pair) {
		case auxEUID:
			p.uid = int64(*(*uintptr)(value))
		case auxEGID:
			p.gid = int64(*(*uintptr)(value))
		case auxRandom:
			p.random = **(**[2]uint64)(value)
		default:
			continue
		}
		found++
	}
	return found == 3
}

// place finds the directory of the shims and the trace.
//
// Source: package config.
func (p *plan) place() bool {
	e := &p.environ
	if !isClean(e.home) {
		return false
	}
	p.shimDir.reset()
	p.shimDir.add(e.home).add("/.substrate/shims")
	p.trace.reset()
	if e.log != "" {
		p.trace.add(e.log)
	} else {
		p.trace.add(e.home).add("/.substrate/trace.jsonl")
	}
	return !p.shimDir.full && !p.trace.full
}

// mayHold says whether the arguments from number n on may hold a secret.
func (p *plan) mayHold(n int) bool {
	var hints redact.Hints
	for ; n < p.argc; n++ {
		hints |= redact.HintsOf(text(at(p.argv, n)))
	}
	return hints.MayHold()
}

// workingDir finds the name of the working directory as os.Getwd does: $PWD if that is it.
func (p *plan) workingDir() bool {
	n := retry(syscall.SYS_GETCWD, address(p.cwd.ptr()), maxPath, 0, 0)
	if n < 2 || p.cwd.buf[0] != '/' {
		return false
	}
	p.cwd.n = n - 1 // without the zero
	pwd := p.environ.pwd
	if pwd == "" || pwd[0] != '/' || same(pwd, p.cwd.String()) {
		return true
	}
	p.link.reset()
	p.link.add(".")
	if stat(p.link.ptr(), &p.here) != 0 {
		return false
	}
	p.link.reset()
	p.link.add(pwd)
	if stat(p.link.ptr(), &p.there) == 0 && p.here.Dev == p.there.Dev && p.here.Ino == p.there.Ino {
		p.cwd.reset()
		p.cwd.add(pwd)
	}
	return !p.link.full && !p.cwd.full
}

// ask asks the kernel for what else a span holds.
func (p *plan) ask() bool {
	p.began = clock(monotonic)
	p.now = clock(realtime)
	if p.now.Sec < 0 || !p.workingDir() || call(syscall.SYS_UNAME, address(&p.host), 0, 0, 0) != 0 {
		return false
	}
	p.mode = int64(call(syscall.SYS_UMASK, 0o077, 0, 0, 0)) // it can only be asked for by setting it
	call(syscall.SYS_UMASK, uintptr(p.mode), 0, 0, 0)
	t := tick(p.now)
	p.sessionID = p.environ.session
	if p.sessionID == "" {
		p.session.set("ses_", t, p.random[1])
		p.sessionID = p.session.String()
	}
	p.span.set("spn_", t+1, p.random[0])
	return true
}

// hand adds the variables by which the program's own commands find their parent (REC8). With
// searched, PATH without the shims is added too, so that shims find the same programs.
func (p *plan) hand(searched bool) bool {
	e := &p.environ
	var c cstring
	c.in(p.exports[:])
	ok := p.export(c.add("SHIM_SESSION_ID=").add(p.sessionID)) &&
		p.export(c.add("SHIM_PARENT_SPAN=").add(p.span.String())) &&
		p.export(c.add("SHIM_DEPTH=").number(e.depth+1)) &&
		p.export(c.add("SHIM_CALLER=").add(p.name))
	if !ok {
		return false
	}
	c.add("SHIM_CALL_STACK=").add(lastNames(e.stack, maxCallStack-1))
	if e.stack != "" {
		c.add("/")
	}
	return p.export(c.add(p.name)) && (!searched || p.export(c.add("SHIM_ORIGINAL_PATH=").add(p.original)))
}

// export hands an entry to the program, and makes room for the next one.
func (p *plan) export(c *cstring) bool {
	next := c.next()
	if next == nil {
		return false
	}
	p.environ.hand(c.ptr())
	c.in(next)
	return true
}

// maxCallStack is the number of names that are passed on.
//
// Source: SHM6; package config.
const maxCallStack = 8

// lastNames gives the last n of the names in stack, which are separated by "/".
func lastNames(stack string, n int) string {
	for i := len(stack) - 1; i >= 0; i-- {
		if stack[i] == '/' {
			if n--; n == 0 {
				return stack[i+1:]
			}
		}
	}
	return stack
}
