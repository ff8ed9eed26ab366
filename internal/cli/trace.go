package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"substrate/fsdiff"
	"substrate/internal/config"
	"substrate/internal/replay"
	"substrate/trace"
)

// addTrace adds the subcommand trace and those below it.
func addTrace(root *cobra.Command, a *app) {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "look at what was recorded",
	}
	cmd.AddCommand(traceShowCommand(a), traceListCommand(a), traceTreeCommand(a),
		traceValidateCommand(a), traceCompactCommand(a), traceSchemaCommand(a))
	root.AddCommand(cmd)
}

// traceShowCommand is `trace show`.
func traceShowCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show SPAN",
		Short: "show one recorded command",
		Long: `Show one recorded command. SPAN is a span id, an unambiguous prefix of one, "last" or "last~N".
With --json it prints the complete line of the span, or its start line if there is no other.`,
		Example: `  substrate trace show last
  substrate trace show last~2 --json | jq .fs_diff`,
		ValidArgsFunction: a.completeSpans,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("trace show needs one SPAN: an id, a prefix of one, or last")
			}
			span, err := a.reader(config.Load(a.env)).Find(args[0])
			if err != nil {
				return withRemedy(replay.LookupError(err))
			}
			if asJSON {
				return a.print(string(trace.AppendJSON(nil, span.Last())) + "\n")
			}
			return a.print(spanText(span))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the line of the trace as one JSON object")
	return cmd
}

// spanText lays a span out for people. What is not known is left out, so that lines of other
// programs are shown as far as they are understood (TRC10).
func spanText(span *trace.Span) string {
	r := span.Last()
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-12s %s\n", name+":", value)
		}
	}
	field("span", r.SpanID)
	field("command", oneLine(r.Cmd))
	field("argv", oneLine(words(r.Argv)))
	if r.Shell != "" {
		field("shell", oneLine(words(append([]string{r.Shell}, r.ShellArgs...))))
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

// completionText adds what is known since the command has ended.
func completionText(b *strings.Builder, field func(name, value string), r *trace.Record) {
	field("ended", r.TS)
	exit := fmt.Sprint(r.Exit)
	if r.TermSignal != 0 {
		exit += fmt.Sprintf(" (signal %d)", r.TermSignal)
	}
	field("exit", exit)
	field("duration", (time.Duration(r.DurationMS) * time.Millisecond).String())
	field("used", fmt.Sprintf("user %d ms, system %d ms, at most %d KiB", r.UserMS, r.SysMS, r.MaxRSSKB))
	if c := r.Capture; c != nil {
		field("stdout", printedText(c.Stdout))
		field("stderr", printedText(c.Stderr))
	}
	field("world", strings.TrimSpace(r.WorldID+" "+r.FSStrategy))
	field("degraded", strings.Join(r.DegradedComponents, ", "))
	if c := r.ReplayContext; c != nil {
		field("mode", oneLine(c.Mode))
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

// printedText says what is known of one stream.
func printedText(s trace.Stream) string {
	text := fmt.Sprintf("%d bytes, sha256:%s", s.Bytes, s.SHA256)
	switch {
	case s.Path == "":
	case s.Truncated:
		text += ", begins as in " + s.Path
	default:
		text += ", in " + s.Path
	}
	return text
}

// blockedScopes are the peers among the scopes that were refused.
func blockedScopes(scopes []string) []string {
	var out []string
	for _, s := range scopes {
		if peer, ok := strings.CutPrefix(s, "net.block:"); ok {
			out = append(out, peer)
		}
	}
	return out
}

// words shows an argv as a shell would take it, so that one can tell where each word begins.
func words(args []string) string {
	quoted := make([]string, len(args))
	for i, w := range args {
		quoted[i] = replay.ShellQuote(w)
	}
	return strings.Join(quoted, " ")
}
