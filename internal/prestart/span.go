package prestart

import (
	"syscall"
	"unsafe"

	"substrate/internal/redact"
)

// The heads of a span's lines, up to what both have in common.
//
// Source: trace.AppendJSON; TRC4.
const (
	headVersion  = `{"trace_schema_version":1,"ts":`
	headTime     = `"2006-01-02T15:04:05.000000000Z"`
	headStart    = `,"event_type":"command_start"`
	headComplete = `,"event_type":"command_complete"`
)

// describe writes what both lines of the span have in common, and the end of the start line. It says
// no if package trace would write something else.
func (p *plan) describe() bool {
	l, e := &p.line, &p.environ
	l.n, l.odd = lineHead, false
	l.field(`,"session_id":`, p.sessionID)
	p.describeCommand()
	l.checked(`,"cwd":`, p.cwd.String())
	l.raw(`,"umask":"0`)
	l.byte('0' + byte(p.mode>>6&7))
	l.byte('0' + byte(p.mode>>3&7))
	l.byte('0' + byte(p.mode&7))
	l.byte('"')
	e.describe(l, p.original, p.argv, p.argc)
	agent := e.agent
	if agent == "" {
		agent = "human"
	}
	l.checked(`,"agent_id":`, agent)
	l.field(`,"host":`, text((*byte)(unsafe.Pointer(&p.host.Nodename))))
	l.integer(`,"uid":`, p.uid)
	l.integer(`,"gid":`, p.gid)
	l.integer(`,"pid":`, int64(call(syscall.SYS_GETPID, 0, 0, 0, 0)))
	if e.depth != 0 {
		l.integer(`,"depth":`, e.depth)
	}
	l.optional(`,"caller":`, e.caller)
	l.names(`,"call_stack":`, lastNames(e.stack, maxCallStack))
	p.common = l.n
	l.raw("}\n")
	p.end = l.n
	p.head(headStart)
	const room = 1024 // for what the complete line adds
	return !l.odd && p.end < maxLine-room
}

// describeCommand writes what is run.
func (p *plan) describeCommand() {
	l := &p.line
	component := "shell"
	if p.isShim {
		component = "shim"
	}
	l.field(`,"component":`, component)
	l.field(`,"span_id":`, p.span.String())
	l.field(`,"parent_span":`, p.environ.parent)
	if p.isShim {
		l.raw(`,"cmd":`)
		from := l.n
		l.quoted(p.argv, p.argc)
		if redact.MayHold(view(l.buf[from:l.n])) {
			l.odd = true
		}
		l.list(`,"argv":`, p.argv, p.argc)
		l.checked(`,"resolved_path":`, text(p.path))
		return
	}
	l.checked(`,"cmd":`, text(at(p.argv, 2)))
	l.checked(`,"shell":`, text(p.path))
	l.list(`,"shell_args":`, after(p.argv, 1), p.argc-1)
}

// head writes the head of a line in front of the common part.
func (p *plan) head(event string) {
	l := &p.line
	p.begin = lineHead - len(headVersion) - len(headTime) - len(event)
	l.n = p.begin
	l.raw(headVersion)
	l.timestamp(p.now)
	l.raw(event)
	if l.n != lineHead { // not a year of four digits
		l.odd = true
	}
}

// complete makes the complete line of the one that describe made. A zero usage is that of a
// program that could not be started.
func (p *plan) complete(exit, signal int, usage *syscall.Rusage) {
	l := &p.line
	elapsed := milliseconds(p.began, clock(monotonic))
	p.now = clock(realtime)
	l.n = p.common
	l.integer(`,"exit":`, int64(exit))
	if signal != 0 {
		l.integer(`,"term_signal":`, int64(signal))
	}
	l.integer(`,"duration_ms":`, elapsed)
	l.integer(`,"user_ms":`, usage.Utime.Sec*1000+usage.Utime.Usec/1000)
	l.integer(`,"sys_ms":`, usage.Stime.Sec*1000+usage.Stime.Usec/1000)
	l.integer(`,"max_rss_kb":`, usage.Maxrss)
	l.raw(`,"scopes_used":[],"fs_diff":null,"degraded_components":[],"replay_context":null}` + "\n")
	p.end = l.n
	p.head(headComplete)
	l.buf[p.begin-1] = '\n' // for a trace whose last line was torn
}
