package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"substrate/fsdiff"
	"substrate/internal/replay"
	"substrate/internal/world"
)

// defaultMaxLines is how many changes, and how many blocked attempts, a report lists.
const defaultMaxLines = 1000

// text is the report for people (RPL6, RPL7): status, changes, blocked attempts and,
// after a replay, the verdict and hints.
func outcomeText(o *replay.Outcome, maxLines int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Exit code: %d\n", o.Result.Exit)
	switch {
	case o.Result.TimedOut:
		b.WriteString("Timed out\n")
	case o.Result.Signal != 0:
		fmt.Fprintf(&b, "Ended by signal %d\n", o.Result.Signal)
	}
	if n := o.Result.Usage.OOMKills; n > 0 {
		fmt.Fprintf(&b, "OOM kills: %d\n", n)
	}
	writeChanges(&b, o.Result.Diff, maxLines)
	writeBlocked(&b, o.Result, maxLines)
	if v := o.Verdict(); v != nil {
		b.WriteString("Verdict: " + replay.Describe(v) + "\n")
	}
	for _, h := range hints(o) {
		b.WriteString("substrate: hint: " + h + "\n")
	}
	return b.String()
}

// writeChanges lists the file changes, and says how many more there are.
func writeChanges(b *strings.Builder, diff *fsdiff.Diff, maxLines int) {
	if diff == nil || diff.Counts.Total() == 0 {
		return
	}
	b.WriteString("Filesystem changes:\n")
	shown := len(diff.Entries)
	if maxLines > 0 {
		shown = min(shown, maxLines)
	}
	for i := range shown {
		b.WriteString(fsdiff.Line(&diff.Entries[i]) + "\n")
	}
	more(b, diff.Counts.Total()-shown)
}

// writeBlocked lists whom the command tried to reach: peers first, then the names
// that it looked up.
func writeBlocked(b *strings.Builder, res *world.Result, maxLines int) {
	total := len(res.Blocked) + len(res.Lookups)
	if total == 0 {
		return
	}
	b.WriteString("Network attempts blocked:\n")
	shown := total
	if maxLines > 0 {
		shown = min(shown, maxLines)
	}
	for i := range shown {
		if i < len(res.Blocked) {
			b.WriteString("  x " + res.Blocked[i].String() + "\n")
			continue
		}
		name := res.Lookups[i-len(res.Blocked)]
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

// hints explain a replay that went otherwise because it starts from the machine as it
// is now, with what the recorded run left there (RPL6).
func hints(o *replay.Outcome) []string {
	if o.Was == nil {
		return nil
	}
	if path := replay.StillThere(*o.Was, o.Result); path != "" {
		return []string{"a replay starts from the machine as it is now: " + fsdiff.Escape(path) +
			" is still there from the recorded run, so it shows as modified; remove it and replay again to see it made"}
	}
	done := o.Was.Completion
	if done != nil && done.Exit == 0 && o.Result.Exit != 0 && o.Result.ExecErr == nil && !o.Result.TimedOut {
		return []string{"a replay starts from the machine as it is now: if the command failed because what the recorded run made " +
			"is still there, remove that and replay again"}
	}
	return nil
}

// reportJSON is the report for programs: one object and a newline.
func reportJSON(r *replay.Report) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	return b.Bytes(), nil
}
