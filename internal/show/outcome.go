// Package show turns values into text for people: outcomes, spans, trees, worlds, tables, progress.
//
// Text from outside is escaped here, so that it cannot break a line or control the terminal. The
// caller removes secrets. The JSON for programs is made by the packages of the values.
package show

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"substrate/fsdiff"
	"substrate/internal/replay"
	"substrate/internal/world"
)

// Outcome is the report of a run (RPL6, RPL7): status, changes, blocked attempts and, after a
// replay, the verdict and hints. At most maxLines changes and attempts are listed; 0 means all.
func Outcome(o *replay.Outcome, maxLines int) string {
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

// writeChanges lists the file changes.
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

// writeBlocked lists what the command tried to reach: addresses first, then the names that it
// looked up.
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

// more writes how many lines were left out.
func more(b *strings.Builder, n int) {
	if n > 0 {
		fmt.Fprintf(b, "  … and %d more\n", n)
	}
}

// hints explain a difference that comes from files which the recorded run left behind: a replay
// starts from the machine as it is now (RPL6).
func hints(o *replay.Outcome) []string {
	if o.Was == nil {
		return nil
	}
	if path := replay.StillThere(*o.Was, o.Result); path != "" {
		return []string{"a replay starts from the machine as it is now: " + fsdiff.Escape(path) +
			" still exists from the recorded run, so it shows as modified; remove it and replay again to see it created"}
	}
	done := o.Was.Completion
	if done != nil && done.Exit == 0 && o.Result.Exit != 0 && o.Result.ExecErr == nil && !o.Result.TimedOut {
		return []string{"a replay starts from the machine as it is now: if the command failed because files of the recorded run " +
			"still exist, remove them and replay again"}
	}
	return nil
}

// ExecError explains why a program could not be started, in the words of shells.
func ExecError(program string, err error) string {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return program + ": command not found"
	case errors.Is(err, syscall.ENOENT):
		return program + ": no such file or directory"
	case errors.Is(err, syscall.EACCES), errors.Is(err, os.ErrPermission):
		return program + ": permission denied"
	}
	return program + ": " + err.Error()
}
