package show

import (
	"fmt"
	"strings"
	"time"

	"substrate/fsdiff"
	"substrate/internal/plain"
	"substrate/internal/replay"
	"substrate/trace"
)

// Span lists the fields of a span. What is not known is left out, so that lines of other programs
// are shown as far as they are understood (TRC10).
func Span(span *trace.Span) string {
	r := span.Last()
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name+":", value)
		}
	}
	field("span", r.SpanID)
	field("command", Line(r.Cmd))
	field("argv", Line(plain.Quoted(r.Argv)))
	if r.Shell != "" {
		field("shell", Line(plain.Quoted(append([]string{r.Shell}, r.ShellArgs...))))
	}
	if r.Script != nil {
		field("script", fsdiff.Escape(r.Script.Path)+" sha256:"+r.Script.SHA256)
	}
	field("cwd", fsdiff.Escape(r.Cwd))
	field("umask", r.Umask)
	field("component", r.Component)
	field("session", r.SessionID)
	field("parent", r.ParentSpan)
	field("replay of", r.ReplayOf)
	field("agent", fsdiff.Escape(r.AgentID))
	if r.Host != "" {
		field("ran as", fmt.Sprintf("%d:%d on %s, pid %d", r.UID, r.GID, fsdiff.Escape(r.Host), r.PID))
	}
	if span.Start != nil {
		field("started", span.Start.TS)
	}
	if span.Incomplete() {
		field("status", "incomplete: the end of the command is not recorded")
		return b.String()
	}
	completionText(&b, field, r)
	return b.String()
}

// completionText adds what is known once the command has ended.
func completionText(b *strings.Builder, field func(name, value string), r *trace.Record) {
	field("ended", r.TS)
	exit := fmt.Sprint(r.Exit)
	if r.TermSignal != 0 {
		exit += fmt.Sprintf(" (signal %d)", r.TermSignal)
	}
	field("exit", exit)
	field("duration", (time.Duration(r.DurationMS) * time.Millisecond).String())
	field("used", fmt.Sprintf("user %d ms, system %d ms, peak memory %d KiB", r.UserMS, r.SysMS, r.MaxRSSKB))
	if c := r.Capture; c != nil {
		field("stdout", printedText(c.Stdout))
		field("stderr", printedText(c.Stderr))
	}
	field("world", strings.TrimSpace(r.WorldID+" "+r.FSStrategy))
	field("degraded", strings.Join(r.DegradedComponents, ", "))
	if c := r.ReplayContext; c != nil {
		field("mode", Line(c.Mode))
		if c.Verdict != nil {
			field("verdict", replay.Describe(c.Verdict))
		}
	}
	if d := r.FSDiff; d != nil && d.Counts.Total() > 0 {
		fmt.Fprintf(b, "Filesystem changes: (%s)\n", d.Summary)
		for i := range d.Entries {
			b.WriteString(fsdiff.Line(&d.Entries[i]) + "\n")
		}
	}
	for i, s := range blockedScopes(r.ScopesUsed) {
		if i == 0 {
			b.WriteString("Network attempts blocked:\n")
		}
		b.WriteString("  x " + fsdiff.Escape(s) + "\n")
	}
}

// printedText describes what a command printed to one stream.
func printedText(s trace.Stream) string {
	text := fmt.Sprintf("%d bytes, sha256:%s", s.Bytes, s.SHA256)
	switch {
	case s.Path == "":
	case s.Truncated:
		text += ", first part in " + s.Path
	default:
		text += ", in " + s.Path
	}
	return text
}

// blockedScopes are the scopes of refused network attempts.
func blockedScopes(scopes []string) []string {
	var out []string
	for _, s := range scopes {
		if peer, ok := strings.CutPrefix(s, "net.block:"); ok {
			out = append(out, peer)
		}
	}
	return out
}
