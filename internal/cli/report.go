package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"substrate/fsdiff"
	"substrate/internal/replay"
	"substrate/internal/world"
	"substrate/trace"
)

// defaultMaxLines is how many changes, and how many blocked attempts, a report lists.
const defaultMaxLines = 1000

// outcome is what a report is made from.
type outcome struct {
	report   *replay.Report
	result   *world.Result
	span     *trace.Record // what was replayed; nil for a new command
	maxLines int           // 0 or less: no limit
}

// text is the report for people (RPL6, RPL7): status, changes, blocked attempts and,
// after a replay, the verdict and hints.
func (o *outcome) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Exit code: %d\n", o.result.Exit)
	switch {
	case o.result.TimedOut:
		b.WriteString("Timed out\n")
	case o.result.Signal != 0:
		fmt.Fprintf(&b, "Ended by signal %d\n", o.result.Signal)
	}
	if n := o.result.Usage.OOMKills; n > 0 {
		fmt.Fprintf(&b, "OOM kills: %d\n", n)
	}
	o.writeChanges(&b)
	o.writeBlocked(&b)
	if v := o.report.Verdict; v != nil {
		b.WriteString("Verdict: " + verdictText(v) + "\n")
	}
	for _, h := range o.hints() {
		b.WriteString("substrate: hint: " + h + "\n")
	}
	return b.String()
}

// writeChanges lists the file changes, and says how many more there are.
func (o *outcome) writeChanges(b *strings.Builder) {
	diff := o.result.Diff
	if diff == nil || diff.Counts.Total() == 0 {
		return
	}
	b.WriteString("Filesystem changes:\n")
	shown := len(diff.Entries)
	if o.maxLines > 0 {
		shown = min(shown, o.maxLines)
	}
	for i := range shown {
		b.WriteString(fsdiff.Line(&diff.Entries[i]) + "\n")
	}
	more(b, diff.Counts.Total()-shown)
}

// writeBlocked lists whom the command tried to reach: peers first, then the names
// that it looked up.
func (o *outcome) writeBlocked(b *strings.Builder) {
	total := len(o.result.Blocked) + len(o.result.Lookups)
	if total == 0 {
		return
	}
	b.WriteString("Network attempts blocked:\n")
	shown := total
	if o.maxLines > 0 {
		shown = min(shown, o.maxLines)
	}
	for i := range shown {
		if i < len(o.result.Blocked) {
			b.WriteString("  x " + o.result.Blocked[i].String() + "\n")
			continue
		}
		name := o.result.Lookups[i-len(o.result.Blocked)]
		b.WriteString("  x " + fsdiff.Escape(name) + " (name lookup)\n")
	}
	more(b, total-shown)
}

// more says how many lines were left out.
func more(b *strings.Builder, n int) {
	if n > 0 {
		fmt.Fprintf(b, "  … and %d more\n", n)
	}
}

// verdictText puts a verdict into one line. What was not recorded is said in one
// breath and never counts as the same.
func verdictText(v *trace.Verdict) string {
	var said, unknown []string
	for _, part := range []struct{ name, value string }{
		{"exit code", v.Exit}, {"stdout", v.Stdout}, {"stderr", v.Stderr}, {"files", v.Files},
	} {
		switch part.value {
		case "same":
			said = append(said, part.name+" same")
		case "not recorded":
			unknown = append(unknown, part.name)
		default:
			said = append(said, part.name+" differs: "+part.value)
		}
	}
	if len(unknown) > 0 {
		said = append(said, strings.Join(unknown, ", ")+" not recorded")
	}
	if n := len(v.Environment); n > 0 {
		const shown = 8
		names := strings.Join(v.Environment[:min(n, shown)], ", ")
		if n > shown {
			names += fmt.Sprintf(" and %d more", n-shown)
		}
		said = append(said, "environment differs: "+fsdiff.Escape(names))
	}
	if p := v.Previous; p != nil && p.Result != "not recorded" {
		said = append(said, "previous replay: "+previousText(p))
	}
	return strings.Join(said, "; ")
}

// previousText is "same", or what was not as in the replay before.
func previousText(p *trace.Replay) string {
	if p.Result == "same" {
		return p.Result
	}
	var said []string
	for _, part := range []struct{ name, value string }{
		{"exit code", p.Exit}, {"stdout", p.Stdout}, {"stderr", p.Stderr}, {"files", p.Files},
	} {
		if part.value != "same" && part.value != "not recorded" {
			said = append(said, part.name+" differs: "+part.value)
		}
	}
	return strings.Join(said, ", ")
}

// hints explain a replay that went otherwise because it starts from the machine as it
// is now, with what the recorded run left there (RPL6).
func (o *outcome) hints() []string {
	if o.span == nil {
		return nil
	}
	if path := replay.StillThere(*o.span, o.result); path != "" {
		return []string{"a replay starts from the machine as it is now: " + fsdiff.Escape(path) +
			" is still there from the recorded run, so it shows as modified; remove it and replay again to see it made"}
	}
	done := o.span.Completion
	if done != nil && done.Exit == 0 && o.result.Exit != 0 && o.result.ExecErr == nil && !o.result.TimedOut {
		return []string{"a replay starts from the machine as it is now: if the command failed because what the recorded run made " +
			"is still there, remove that and replay again"}
	}
	return nil
}

// json is the report for programs: one object and a newline.
func (o *outcome) json() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(o.report); err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return b.Bytes(), nil
}

// warnings are the degradations of RPL9 that a run is to tell of: those
// that matter without being asked, and with verbose all.
func warnings(res *world.Result, verbose bool) []world.Degradation {
	var list []world.Degradation
	for _, d := range res.Degraded {
		if d.Message != "" && (d.Asked || verbose) {
			list = append(list, d)
		}
	}
	return list
}
