package replay

import (
	"fmt"

	"substrate/fsdiff"
	"substrate/internal/world"
	"substrate/trace"
)

// The words of a verdict.
const (
	same        = "same"
	differs     = "differs"
	notRecorded = "not recorded"
)

// Compare holds what a replay did against the recorded span (RPL7). Output is not
// captured, so it counts as not recorded; the same goes for the files of a command that
// ran on the host, and for the status of one whose complete line is missing.
func Compare(span trace.Record, res *world.Result) *trace.Verdict {
	v := &trace.Verdict{Exit: notRecorded, Stdout: notRecorded, Stderr: notRecorded, Files: notRecorded}
	if done := span.Completion; done != nil {
		v.Exit = compareExit(done, res)
		v.Files = compareFiles(done.FSDiff, res.Diff)
	}
	v.Result = notRecorded
	for _, part := range []string{v.Exit, v.Stdout, v.Stderr, v.Files} {
		switch part {
		case notRecorded:
		case same:
			if v.Result == notRecorded {
				v.Result = same
			}
		default:
			v.Result = differs
		}
	}
	return v
}

// compareExit compares the ways in which two runs ended.
func compareExit(done *trace.Completion, res *world.Result) string {
	if done.Exit == res.Exit && done.TermSignal == res.Signal {
		return same
	}
	return fmt.Sprintf("recorded %s, now %s", ending(done.Exit, done.TermSignal), ending(res.Exit, res.Signal))
}

// ending names a status and the signal behind it.
func ending(exit, signal int) string {
	if signal == 0 {
		return fmt.Sprint(exit)
	}
	return fmt.Sprintf("%d (signal %d)", exit, signal)
}

// compareFiles compares two lists of changes: what was changed, into what, but not when.
func compareFiles(was, is *fsdiff.Diff) string {
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
		return fmt.Sprintf("recorded %d changes, now %d", was.Counts.Total(), is.Counts.Total())
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
