package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"substrate/internal/show"
	"substrate/trace"
)

// listFlags are the flags of `trace list`.
type listFlags struct {
	since, session, agent, exit, grep string
	max                               int
	json                              bool
}

// traceListCommand is `trace list`.
func traceListCommand(a *app) *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list recorded commands, the newest first",
		Long: `List recorded commands, the newest first: the beginning of the span id, the time of the start, the exit status, the
duration, the component that recorded it, and the command. A command whose end is not recorded is "incomplete". On a
terminal, long commands are cut. In a pipe nothing is cut, fields are separated by tabs, and there is no head line.
With --json it prints an array with the complete line of each span, or its start line if there is no other.`,
		Example: `  substrate trace list -n 50
  substrate trace list --since 2h --exit '!0'         what failed in the last two hours
  substrate trace list --grep '^git push' --json | jq -r '.[].cwd'
  substrate trace list --session "$SHIM_SESSION_ID"   what this session did`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.traceList(&f) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.since, "since", "", "only commands that ended (or started, if incomplete) since a `TIME` (2025-09-10, 2025-09-10T02:20:33Z) or within a duration (90s, 2h, 30d, 2w)")
	fs.StringVar(&f.session, "session", "", "only commands of the session whose `ID` begins like this")
	fs.StringVar(&f.agent, "agent", "", "only commands of the agent `NAME` (SUBSTRATE_AGENT_ID)")
	fs.StringVar(&f.exit, "exit", "", "only commands with this exit `STATUS`; '!0' for any but 0, incomplete for commands without an end")
	fs.StringVar(&f.grep, "grep", "", "only commands that match this regular `EXPRESSION`")
	fs.IntVarP(&f.max, "max", "n", 20, "show at most `N` commands; 0 for all")
	fs.BoolVar(&f.json, "json", false, "print an array of lines of the trace")
	return cmd
}

// traceList prints the spans that the flags select.
func (a *app) traceList(f *listFlags) error {
	filter, keep, err := f.parse(time.Now())
	if err != nil {
		return err
	}
	out := show.NewTable(a.stdout, time.Now())
	if f.json {
		out = show.NewArray(a.stdout)
	}
	n := 0
	var printErr error
	err = a.reader().Spans(filter, func(s *trace.Span) bool {
		if !keep(s) {
			return true
		}
		n++
		printErr = out.Add(s)
		return printErr == nil && n != f.max
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // nothing was recorded yet
	}
	return failed(errors.Join(err, printErr, out.Flush()))
}

// parse returns a filter for the reader, and a test for what the filter cannot express.
func (f *listFlags) parse(now time.Time) (trace.Filter, func(*trace.Span) bool, error) {
	filter := trace.Filter{Session: f.session}
	var err error
	if f.since != "" {
		if filter.Since, err = parseSince(f.since, now); err != nil {
			return filter, nil, usagef("--since: %v", err)
		}
	}
	pattern, err := regexp.Compile(f.grep)
	if err != nil {
		return filter, nil, usagef("--grep: %v", err)
	}
	hasExit, err := exitTest(f.exit)
	if err != nil {
		return filter, nil, usagef("--exit: %v", err)
	}
	if f.max < 0 {
		return filter, nil, usagef("-n %d is negative", f.max)
	}
	return filter, func(s *trace.Span) bool {
		r := s.Last()
		return (f.agent == "" || r.AgentID == f.agent) && hasExit(s) && pattern.MatchString(r.Cmd)
	}, nil
}

// exitTest parses the value of --exit.
func exitTest(value string) (func(*trace.Span) bool, error) {
	switch value {
	case "":
		return func(*trace.Span) bool { return true }, nil
	case "incomplete":
		return (*trace.Span).Incomplete, nil
	}
	digits, not := strings.CutPrefix(value, "!")
	status, err := strconv.Atoi(digits)
	if err != nil {
		return nil, fmt.Errorf("%q is not an exit status", value)
	}
	return func(s *trace.Span) bool { return !s.Incomplete() && (s.Last().Exit == status) != not }, nil
}

// parseSince parses a time, or a duration before now.
func parseSince(s string, now time.Time) (time.Time, error) {
	if d, err := parseAge(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a time nor a duration such as 2h or 30d", s)
}

// parseAge parses a duration of Go, also with days or weeks: 30d, 2w, 1d12h.
func parseAge(s string) (time.Duration, error) {
	var total time.Duration
	rest := s
	for _, unit := range []struct {
		name   string
		length time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, found := strings.Cut(rest, unit.name)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		total += time.Duration(n) * unit.length
		rest = after
	}
	if rest == "" && s != "" {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration", s)
	}
	return total + d, nil
}
