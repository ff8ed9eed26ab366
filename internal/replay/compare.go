package replay

import (
	"fmt"
	"sort"

	"substrate/fsdiff"
	"substrate/internal/record"
	"substrate/trace"
)

// The words of a verdict.
const (
	same        = "same"
	differs     = "differs"
	notRecorded = "not recorded"
)

// Run is what is compared: the way in which a run ended, what it printed, if that was captured, and what it changed, if
// it ran in a world.
type Run = trace.Completion

// Compare holds what a replay did against the recorded span, and against the previous replay of it, which may be nil (RPL7). What
// one of the two sides does not tell counts as not recorded: the output of a run that was not captured, the
// files of one on the host, and all of one whose complete line is missing.
func Compare(span trace.Record, previous *trace.Record, now *Run, env []string) *trace.Verdict {
	v := &trace.Verdict{Exit: notRecorded, Stdout: notRecorded, Stderr: notRecorded, Files: notRecorded}
	if was := span.Completion; was != nil {
		v.Exit, v.Stdout, v.Stderr, v.Files = parts("recorded", was, now)
	}
	v.Result = result(v.Exit, v.Stdout, v.Stderr, v.Files)
	v.Environment = environmentDiffers(span, env, v.Result == differs)
	if previous != nil && previous.Completion != nil {
		p := &trace.Replay{SpanID: previous.SpanID}
		p.Exit, p.Stdout, p.Stderr, p.Files = parts("before", previous.Completion, now)
		p.Result = result(p.Exit, p.Stdout, p.Stderr, p.Files)
		v.Previous = p
	}
	return v
}

// Differs says whether a verdict is what --check ends with 125 for: something is not as recorded, or, where
// nothing was recorded, not as in the previous replay.
func Differs(v *trace.Verdict) bool {
	if v.Result == differs {
		return true
	}
	p := v.Previous
	if p == nil {
		return false
	}
	for _, part := range [][2]string{{v.Exit, p.Exit}, {v.Stdout, p.Stdout}, {v.Stderr, p.Stderr}, {v.Files, p.Files}} {
		if part[0] == notRecorded && part[1] != notRecorded && part[1] != same {
			return true
		}
	}
	return false
}

// result sums the parts of a verdict up.
func result(parts ...string) string {
	sum := notRecorded
	for _, part := range parts {
		switch {
		case part != same && part != notRecorded:
			return differs
		case part == same:
			sum = same
		}
	}
	return sum
}

// parts compares two runs. The word says when the first was.
func parts(when string, was, is *Run) (exit, stdout, stderr, files string) {
	exit, stdout, stderr = compareExit(when, was, is), notRecorded, notRecorded
	if was.Capture != nil && is.Capture != nil {
		stdout = compareStream(when, was.Capture.Stdout, is.Capture.Stdout)
		stderr = compareStream(when, was.Capture.Stderr, is.Capture.Stderr)
	}
	return exit, stdout, stderr, compareFiles(when, was.FSDiff, is.FSDiff)
}

// compareExit compares the ways in which two runs ended.
func compareExit(when string, was, is *Run) string {
	if was.Exit == is.Exit && was.TermSignal == is.TermSignal {
		return same
	}
	return fmt.Sprintf("%s %s, now %s", when, ending(was.Exit, was.TermSignal), ending(is.Exit, is.TermSignal))
}

// compareStream compares what two runs printed.
func compareStream(when string, was, is trace.Stream) string {
	switch {
	case was.Bytes == is.Bytes && was.SHA256 == is.SHA256:
		return same
	case was.Bytes == is.Bytes:
		return fmt.Sprintf("%s %d bytes, now as many others", when, was.Bytes)
	}
	return fmt.Sprintf("%s %d bytes, now %d", when, was.Bytes, is.Bytes)
}

// environmentDiffers lists the variables that the replay had with another value than the recorded run, and,
// with all, those that it did not have: most are cleared on purpose (RPL3), so they are only worth
// naming where something has to be explained.
func environmentDiffers(span trace.Record, env []string, all bool) []string {
	if span.Env == nil && span.EnvHashes == nil {
		return nil
	}
	now := toMap(env)
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

// ending names a status and the signal behind it.
func ending(exit, signal int) string {
	if signal == 0 {
		return fmt.Sprint(exit)
	}
	return fmt.Sprintf("%d (signal %d)", exit, signal)
}

// compareFiles compares two lists of changes: what was changed, into what, but not when.
func compareFiles(when string, was, is *fsdiff.Diff) string {
	if was == nil || is == nil {
		return notRecorded
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
		return same
	case count == 0:
		return fmt.Sprintf("%s %d changes, now %d", when, was.Counts.Total(), is.Counts.Total())
	case count == 1:
		return fsdiff.Escape(first) + " changed differently"
	}
	return fmt.Sprintf("%s and %d more changed differently", fsdiff.Escape(first), count-1)
}

// outcome is what must be equal for a change to count as the same. For a delete it
// is the kind and the type alone: what was there before is not the command's doing.
func outcome(e *fsdiff.Entry) string {
	if e.Kind == fsdiff.Delete {
		return fmt.Sprint(e.Kind, e.FileType)
	}
	return fmt.Sprintln(e.Kind, e.FileType, e.Mode, e.Size, e.LinkTarget, e.LinkB64)
}

// Unstable names what was not the same in all of several replays of one span: exit code, stdout, stderr, files.
func Unstable(reports []*Report) []string {
	var names []string
	seen := map[string]bool{}
	note := func(name, part string) {
		if part != same && part != notRecorded && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for i := 1; i < len(reports); i++ {
		exit, stdout, stderr, files := parts("before", reports[0].run(), reports[i].run())
		note("exit code", exit)
		note("stdout", stdout)
		note("stderr", stderr)
		note("files", files)
	}
	return names
}

// run is what is compared of a report.
func (r *Report) run() *Run {
	return &Run{Exit: r.Exit, TermSignal: r.TermSignal, Capture: r.Capture, FSDiff: r.FSDiff}
}
