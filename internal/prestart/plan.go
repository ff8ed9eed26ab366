package prestart

import (
	"syscall"
	"unsafe"

	"substrate/internal/plain"
	"substrate/internal/redact"
)

// plan is one command: what was given, what is run, and what is recorded. There is one, in memory
// that is part of the program, and only what is written to takes up pages of it.
type plan struct {
	argc    int
	argv    []string
	rawArgv **byte
	envp    **byte

	random  [2]uint64 // fresh in every process
	isShim  bool
	spawn   spawnFunc
	child   child
	name    string // what the children call the command
	path    *byte  // of the program that is executed
	args    **byte // its argv
	failed  int64  // why the program could not be executed: -errno, or 0
	rest    Unfinished
	start   plain.Start  // what both lines of the span have in common
	common  int          // length of line up to its end
	found   plain.Buffer // the program
	beside  plain.Buffer // the shim that belongs to us
	first   plain.Buffer // PATH for the program as an entry
	without plain.Buffer // PATH without the shims
	link    plain.Buffer // for what is needed only a moment
	texts   plain.Buffer // one behind another, so that few pages are used; see cut
	line    plain.Buffer // behind room for the head of a line

	shimDir, trace, cwd plain.Buffer

	began, now  syscall.Timespec
	signals     signals
	file        traceFile
	host        syscall.Utsname
	here, there syscall.Stat_t
	environ     environ
	stack       [plain.MaxCallStack]string
	words       [maxArgs]string
	script      [maxArgs + 4]*byte // argv of a program that is started otherwise than by our own
	short       [5][maxPath]byte
	long        [3][maxList]byte
	room        [2][maxLine]byte
}

// Sizes: of a path; of a list of paths, or anything long; of a line, because a command has at most
// 128 KiB (MAX_ARG_STRLEN); and of the head of a line.
const (
	maxPath  = 1024
	maxList  = 16 << 10
	maxLine  = 160 << 10
	lineHead = 128
)

// maxArgs is the number of arguments that a program may have here.
const maxArgs = 4096

// current is the only plan: there is no heap to put another one in.
var current plan

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
	for i, b := range [...]*plain.Buffer{&p.shimDir, &p.trace, &p.found, &p.beside, &p.cwd} {
		b.Bytes = p.short[i][:0]
	}
	for i, b := range [...]*plain.Buffer{&p.first, &p.without, &p.link} {
		b.Bytes = p.long[i][:0]
	}
	p.texts.Bytes, p.line.Bytes = p.room[0][:0], p.room[1][:lineHead]
	p.argc = int(*stack)
	p.rawArgv = (**byte)(unsafe.Add(unsafe.Pointer(stack), 8))
	if p.argc < 1 || p.argc > maxArgs {
		return false
	}
	for i := range p.argc {
		p.words[i] = text(at(p.rawArgv, i))
	}
	p.argv = p.words[:p.argc]
	p.envp = after(p.rawArgv, p.argc+1)
	n, found := 0, 0
	for at(p.envp, n) != nil {
		n++
	}
	pair := unsafe.Pointer(after(p.envp, n+1))
	for ; *(*uintptr)(pair) != 0; pair = unsafe.Add(pair, 16) {
		value := unsafe.Add(pair, 8)
		switch *(*uintptr)(pair) {
		case auxEUID:
			p.start.UID = int64(*(*uintptr)(value))
		case auxEGID:
			p.start.GID = int64(*(*uintptr)(value))
		case auxRandom:
			p.random = **(**[2]uint64)(value)
		default:
			continue
		}
		found++
	}
	return found == 3
}

// argvOf is first followed by our own arguments, for another program. Our own argv is left alone,
// because this may not be the plain case after all. If second is not nil it stands between them.
func (p *plan) argvOf(first, second *byte) **byte {
	p.script[0], p.script[1] = first, second
	n := 1
	if second != nil {
		n = 2
	}
	for i := 1; i <= p.argc; i++ { // with the nil behind the last
		p.script[n] = at(p.rawArgv, i)
		n++
	}
	return &p.script[0]
}

// place finds the directory of the shims and the trace.
//
// Source: package config.
func (p *plan) place() bool {
	e := &p.environ
	if !isClean(e.home) {
		return false
	}
	p.shimDir.Reset(0).Raw(e.home).Raw("/" + plain.Dir + "/" + plain.ShimsName)
	p.trace.Reset(0)
	if e.log != "" {
		p.trace.Raw(e.log)
	} else {
		p.trace.Raw(e.home).Raw("/" + plain.Dir + "/" + plain.TraceName)
	}
	p.trace.CString()
	return !p.shimDir.Full && !p.trace.Full
}

// mayHold reports whether words may hold a secret.
func mayHold(words []string) bool {
	var hints redact.Hints
	for _, w := range words {
		hints |= redact.HintsOf(w)
	}
	return hints.MayHold()
}

// workingDir finds the name of the working directory as os.Getwd does: $PWD if that is it.
func (p *plan) workingDir() bool {
	n := retry(syscall.SYS_GETCWD, address(p.cwd.CString()), maxPath, 0, 0)
	if n < 2 || p.cwd.Bytes[:1][0] != '/' {
		return false
	}
	p.cwd.Reset(n - 1) // without the zero
	pwd := p.environ.pwd
	if pwd == "" || pwd[0] != '/' || plain.Same(pwd, p.cwd.String()) {
		return true
	}
	if stat(p.link.Reset(0).Raw(".").CString(), &p.here) != 0 {
		return false
	}
	if stat(p.link.Reset(0).Raw(pwd).CString(), &p.there) == 0 && sameFile(&p.here, &p.there) {
		p.cwd.Reset(0).Raw(pwd)
	}
	return !p.link.Full && !p.cwd.Full
}

// ask asks the kernel for what else a span holds, and makes its ids.
func (p *plan) ask() bool {
	p.began = clock(monotonic)
	p.now = clock(realtime)
	if p.now.Sec < 0 || !p.workingDir() || call(syscall.SYS_UNAME, address(&p.host), 0, 0, 0) != 0 {
		return false
	}
	mode := call(syscall.SYS_UMASK, 0o077, 0, 0, 0) // it can only be asked for by setting it
	call(syscall.SYS_UMASK, uintptr(mode), 0, 0, 0)
	s, e := &p.start, &p.environ
	from := len(p.texts.Bytes)
	for shift := 9; shift >= 0; shift -= 3 {
		p.texts.Byte('0' + byte(mode>>uint(shift)&7))
	}
	s.Umask = p.cut(from)
	s.SessionID = e.session
	tick := plain.Tick(p.now.Sec, p.now.Nsec)
	if s.SessionID == "" {
		from = len(p.texts.Bytes)
		p.texts.ID(plain.SessionPrefix, tick, p.random[1])
		s.SessionID = p.cut(from)
	}
	from = len(p.texts.Bytes)
	p.texts.ID(plain.SpanPrefix, tick+1, p.random[0])
	s.SpanID = p.cut(from)
	s.ParentSpan, s.Depth, s.Caller = e.parent, e.depth, e.caller
	s.Cwd = p.cwd.String()
	s.Host = text((*byte)(unsafe.Pointer(&p.host.Nodename)))
	s.PID = int64(call(syscall.SYS_GETPID, 0, 0, 0, 0))
	s.AgentID = e.agent
	if s.AgentID == "" {
		s.AgentID = plain.DefaultAgent
	}
	stack, n := plain.LastNames(e.stack, plain.MaxCallStack), 0
	for from := 0; stack != "" && from <= len(stack); n++ {
		p.stack[n], from = plain.Part(stack, from, '/')
	}
	s.CallStack = p.stack[:n]
	return true
}

// cut is what stands in texts behind the first n bytes.
func (p *plan) cut(n int) string { return plain.View(p.texts.Bytes[n:]) }

// describe writes the start line, whose common part is that of the complete line too. original is
// PATH without the shims. It returns false if the span may hold a secret, or is too long.
func (p *plan) describe(original string) bool {
	s := &p.start
	if !p.environ.describe(s, original, &p.texts) {
		return false
	}
	secret := false
	for _, v := range [...]string{s.Cmd, s.ResolvedPath, s.Shell, s.Cwd, s.AgentID, s.Caller} {
		secret = secret || redact.MayHold(v)
	}
	for _, v := range s.CallStack {
		secret = secret || redact.MayHold(v)
	}
	for _, v := range s.Env {
		secret = secret || redact.MayHold(v.Value)
	}
	p.line.Reset(lineHead).Start(s)
	p.common = len(p.line.Bytes)
	p.line.Raw("}\n")
	const room = 1024 // for what the complete line adds
	return !secret && !p.line.Full && len(p.line.Bytes) < maxLine-room && !p.texts.Full
}

// whole puts the head of a line in front of what line holds, and returns all of it.
func (p *plan) whole(event string) []byte {
	from := len(p.texts.Bytes)
	p.texts.Time(p.now.Sec, p.now.Nsec)
	head := p.link.Reset(0).Head(plain.SchemaVersion, p.cut(from), event).Bytes
	line := p.line.Bytes[lineHead-len(head):]
	//lint:ignore S1001 copy would call the runtime
	for i := range head {
		line[i] = head[i]
	}
	return line
}

// complete returns the complete line of the span that describe made.
func (p *plan) complete(exit, signal int, usage *syscall.Rusage) []byte {
	t := clock(monotonic)
	p.now = clock(realtime)
	p.line.Reset(p.common).End(&plain.End{
		Exit: int64(exit), TermSignal: int64(signal), DurationMS: ((t.Sec-p.began.Sec)*1e9 + t.Nsec - p.began.Nsec) / 1e6,
		UserMS: usage.Utime.Sec*1000 + usage.Utime.Usec/1000, SysMS: usage.Stime.Sec*1000 + usage.Stime.Usec/1000, MaxRSSKB: usage.Maxrss,
	}).Raw("}\n")
	return p.whole(plain.EventComplete)
}

// hand adds the variables by which the program's own commands find their parent (REC8). With
// searched it also adds original, PATH without the shims, so that shims find the same programs.
func (p *plan) hand(searched bool, original string) bool {
	s := &p.start
	p.link.Reset(0).Raw(plain.LastNames(p.environ.stack, plain.MaxCallStack-1))
	if p.environ.stack != "" {
		p.link.Byte('/')
	}
	from := len(p.texts.Bytes)
	p.texts.Int(s.Depth + 1)
	for _, v := range plain.Exports(s.SessionID, s.SpanID, p.cut(from), p.name, p.link.Raw(p.name).String()) {
		p.export(v.Name, v.Value)
	}
	if searched {
		p.export(plain.VarOriginalPath, original)
	}
	return !p.link.Full && !p.texts.Full
}

// export hands a variable to the program.
func (p *plan) export(name, value string) {
	from := len(p.texts.Bytes)
	if p.texts.Raw(name).Byte('=').Raw(value).Byte(0); !p.texts.Full {
		p.environ.hand(&p.texts.Bytes[from])
	}
}
