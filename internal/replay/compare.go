package replay

import (
	"fmt"
	"sort"
	"strings"

	"substrate/fsdiff"
	"substrate/internal/environ"
	"substrate/internal/record"
	"substrate/trace"
)

// The words of a verdict, and of the status of a [BatchSpan].
const (
	Same        = "same"
	Different   = "differs"
	NotRecorded = "not recorded"
	NotStable   = "unstable" // not the same in all of several replays
	Skipped     = "skipped"  // cannot be replayed
	Failed      = "failed"   // could not be run
)

// Run holds what is compared: how a run ended, what it printed (if that was captured), and what it
// changed (if it ran in a world).
type Run = trace.Completion

// Compare compares a replay with the recorded span, and with the previous replay of it, which may
// be nil (RPL7). A part that one of the two does not have is not recorded: output that was not
// captured, files of a run on the host, everything if the complete line is missing.
func Compare(span trace.Record, previous *trace.Record, now *Run, env []string) *trace.Verdict {
	v := &trace.Verdict{Exit: NotRecorded, Stdout: NotRecorded, Stderr: NotRecorded, Files: NotRecorded}
	if was := span.Completion; was != nil {
		v.Exit, v.Stdout, v.Stderr, v.Files = parts("recorded", was, now)
	}
	v.Result = result(v.Exit, v.Stdout, v.Stderr, v.Files)
	v.Environment = environmentDiffers(span, env, v.Result == Different)
	if previous != nil && previous.Completion != nil {
		p := &trace.Replay{SpanID: previous.SpanID}
		p.Exit, p.Stdout, p.Stderr, p.Files = parts("before", previous.Completion, now)
		p.Result = result(p.Exit, p.Stdout, p.Stderr, p.Files)
		v.Previous = p
	}
	return v
}

// Differs reports whether --check fails for a verdict: something differs from the recorded run or,
// where nothing was recorded, from the previous replay.
func Differs(v *trace.Verdict) bool {
	if v.Result == Different {
		return true
	}
	p := v.Previous
	if p == nil {
		return false
	}
	for _, part := range [][2]string{{v.Exit, p.Exit}, {v.Stdout, p.Stdout}, {v.Stderr, p.Stderr}, {v.Files, p.Files}} {
		if part[0] == NotRecorded && part[1] != NotRecorded && part[1] != Same {
			return true
		}
	}
	return false
}

// result is the result for several parts.
func result(parts ...string) string {
	sum := NotRecorded
	for _, part := range parts {
		switch {
		case part != Same && part != NotRecorded:
			return Different
		case part == Same:
			sum = Same
		}
	}
	return sum
}

// parts compares two runs. when says when the first one was: "recorded" or "before".
func parts(when string, was, is *Run) (exit, stdout, stderr, files string) {
	exit, stdout, stderr = compareExit(when, was, is), NotRecorded, NotRecorded
	if was.Capture != nil && is.Capture != nil {
		stdout = compareStream(when, was.Capture.Stdout, is.Capture.Stdout)
		stderr = compareStream(when, was.Capture.Stderr, is.Capture.Stderr)
	}
	return exit, stdout, stderr, compareFiles(when, was.FSDiff, is.FSDiff)
}

// compareExit compares how two runs ended.
func compareExit(when string, was, is *Run) string {
	if was.Exit == is.Exit && was.TermSignal == is.TermSignal {
		return Same
	}
	return fmt.Sprintf("%s %s, now %s", when, ending(was.Exit, was.TermSignal), ending(is.Exit, is.TermSignal))
}

// compareStream compares what two runs printed.
func compareStream(when string, was, is trace.Stream) string {
	switch {
	case was.Bytes == is.Bytes && was.SHA256 == is.SHA256:
		return Same
	case was.Bytes == is.Bytes:
		return fmt.Sprintf("both %d bytes", was.Bytes)
	}
	return fmt.Sprintf("%s %d bytes, now %d", when, was.Bytes, is.Bytes)
}

// environmentDiffers lists the variables whose value in the replay differs from the recorded one.
// With all it also lists those that the replay did not have. Most of them are cleared on purpose
// (RPL3), so they matter only if there is a difference to explain.
func environmentDiffers(span trace.Record, env []string, all bool) []string {
	if span.Env == nil && span.EnvHashes == nil {
		return nil
	}
	now := environ.List(env).Map()
	var names []string
	for name, value := range span.Env {
		if is, ok := now[name]; ok && is != value || !ok && all {
			names = append(names, name)
		}
	}
	for name, hash := range span.EnvHashes {
		switch name {
		case "PWD", "OLDPWD", "SHLVL", "_":
			continue // of the shell that started the command
		}
		if value, ok := now[name]; ok && !record.SameHash(hash, value) || !ok && all {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// ending is a status and the signal that caused it.
func ending(exit, signal int) string {
	if signal == 0 {
		return fmt.Sprint(exit)
	}
	return fmt.Sprintf("%d (signal %d)", exit, signal)
}

// compareFiles compares two lists of changes: paths, kinds and contents, but not times.
func compareFiles(when string, was, is *fsdiff.Diff) string {
	if was == nil || is == nil {
		return NotRecorded
	}
	before := map[string]string{}
	for i := range was.Entries {
		before[was.Entries[i].Raw()] = outcome(&was.Entries[i])
	}
	count, first := 0, ""
	note := func(path string) {
		if count++; first == "" || path < first {
			first = path
		}
	}
	for i := range is.Entries {
		path := is.Entries[i].Raw()
		if got, ok := before[path]; !ok || got != outcome(&is.Entries[i]) {
			note(path)
		}
		delete(before, path)
	}
	for path := range before {
		note(path)
	}
	switch {
	case count == 0 && was.Counts == is.Counts:
		return Same
	case count == 0:
		return fmt.Sprintf("%s %d changes, now %d", when, was.Counts.Total(), is.Counts.Total())
	case count == 1:
		return fsdiff.Escape(first) + " changed differently"
	}
	return fmt.Sprintf("%s and %d more changed differently", fsdiff.Escape(first), count-1)
}

// outcome is what must be equal for two changes to be the same. For a delete it is only kind and
// type, because the command did not decide what was there before.
func outcome(e *fsdiff.Entry) string {
	if e.Kind == fsdiff.Delete {
		return fmt.Sprint(e.Kind, e.FileType)
	}
	return fmt.Sprintln(e.Kind, e.FileType, e.Mode, e.Size, e.LinkTarget, e.LinkB64)
}

// Describe is a verdict in one line.
func Describe(v *trace.Verdict) string {
	var said, unknown []string
	for _, part := range []struct{ name, value string }{
		{"exit code", v.Exit}, {"stdout", v.Stdout}, {"stderr", v.Stderr}, {"files", v.Files},
	} {
		switch part.value {
		case Same:
			said = append(said, part.name+" same")
		case NotRecorded:
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
	if p := v.Previous; p != nil && p.Result != NotRecorded {
		said = append(said, "previous replay: "+previousText(p))
	}
	return strings.Join(said, "; ")
}

// previousText is Same, or the differences from the previous replay.
func previousText(p *trace.Replay) string {
	if p.Result == Same {
		return p.Result
	}
	var said []string
	for _, part := range []struct{ name, value string }{
		{"exit code", p.Exit}, {"stdout", p.Stdout}, {"stderr", p.Stderr}, {"files", p.Files},
	} {
		if part.value != Same && part.value != NotRecorded {
			said = append(said, part.name+" differs: "+part.value)
		}
	}
	return strings.Join(said, ", ")
}
