package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"substrate/internal/config"
	"substrate/trace"
)

// listFlags say which spans `trace list` shows.
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
		Long: `List recorded commands, the newest first: the beginning of the span id, when it was started, its exit status, how
long it took, which component recorded it, and the command. A command whose end is not recorded is "incomplete". On a
terminal long commands are cut; in a pipe the fields are whole, separated by tabs, without the head line.
With --json it prints an array of the spans' complete lines (start lines where there is no other).`,
		Example: `  substrate trace list -n 50
  substrate trace list --since 2h --exit '!0'         what failed in the last two hours
  substrate trace list --grep '^git push' --json | jq -r '.[].cwd'
  substrate trace list --session "$SHIM_SESSION_ID"   what this session did`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.traceList(&f) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.since, "since", "", "ended (or started, if incomplete) since a time (2025-09-10, 2025-09-10T02:20:33Z) or for so long (90s, 2h, 30d, 2w)")
	fs.StringVar(&f.session, "session", "", "of the session whose id begins so")
	fs.StringVar(&f.agent, "agent", "", "of this agent (SUBSTRATE_AGENT_ID)")
	fs.StringVar(&f.exit, "exit", "", "with this exit status; '!0' for any but 0, incomplete for those without")
	fs.StringVar(&f.grep, "grep", "", "whose command matches this regular expression")
	fs.IntVarP(&f.max, "max", "n", 20, "so many at most; 0 for all")
	fs.BoolVar(&f.json, "json", false, "print an array of lines of the trace")
	return cmd
}

// traceList finds and prints.
func (a *app) traceList(f *listFlags) error {
	filter, keep, err := f.parse(time.Now())
	if err != nil {
		return err
	}
	var out spanPrinter = newTable(a.stdout, time.Now())
	if f.json {
		out = &arrayPrinter{w: bufio.NewWriter(a.stdout)}
	}
	n := 0
	var printErr error
	err = a.reader(config.Load(a.env)).Spans(filter, func(s *trace.Span) bool {
		if !keep(s) {
			return true
		}
		n++
		printErr = out.add(s)
		return printErr == nil && n != f.max
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // nothing was recorded yet
	}
	return failed(errors.Join(err, printErr, out.flush()))
}

// parse turns the flags into a filter of the reader and a test for the rest.
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

// exitTest reads the value of --exit.
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
		return nil, fmt.Errorf("%q is no exit status", value)
	}
	return func(s *trace.Span) bool { return !s.Incomplete() && (s.Last().Exit == status) != not }, nil
}

// parseSince reads a time, or a duration before now.
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

// parseAge reads a duration as Go does, and also one in days or weeks: 30d, 2w, 1d12h.
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
			return 0, fmt.Errorf("%q is no duration", s)
		}
		total += time.Duration(n) * unit.length
		rest = after
	}
	if rest == "" && s != "" {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration", s)
	}
	return total + d, nil
}

// spanPrinter prints spans one after the other.
type spanPrinter interface {
	add(*trace.Span) error
	flush() error
}

// arrayPrinter prints the lines of the trace as one JSON array.
type arrayPrinter struct {
	w    *bufio.Writer
	line []byte
	n    int
}

func (p *arrayPrinter) add(s *trace.Span) error {
	p.line = append(p.line[:0], ",\n"...)
	if p.n == 0 {
		p.line = append(p.line[:0], "[\n"...)
	}
	p.n++
	p.line = trace.AppendJSON(p.line, s.Last())
	_, err := p.w.Write(p.line)
	return err
}

func (p *arrayPrinter) flush() error {
	end := "\n]\n"
	if p.n == 0 {
		end = "[]\n"
	}
	_, err := p.w.WriteString(end)
	return errors.Join(err, p.w.Flush())
}

// table prints spans for people: aligned and cut on a terminal, whole and with tabs elsewhere.
type table struct {
	w     *bufio.Writer
	width int // of the terminal, 0 for none
	now   time.Time
	begun bool
}

func newTable(f *os.File, now time.Time) *table {
	t := &table{w: bufio.NewWriter(f), now: now}
	if terminal(f) {
		t.width = max(60, widthOf(f))
	}
	return t
}

// widthOf is the number of columns of a terminal.
func widthOf(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}

func (t *table) add(s *trace.Span) error {
	r := s.Last()
	fields := []any{idText(r.SpanID, t.width > 0), whenText(s.Began(), t.now, t.width > 0), statusText(s), tookText(s), r.Component, oneLine(r.Cmd)}
	if t.width == 0 {
		_, err := fmt.Fprintf(t.w, "%s\t%s\t%s\t%s\t%s\t%s\n", fields...)
		return err
	}
	const layout = "%-16s  %-12s  %-10s  %7s  %-6s  %s"
	if !t.begun {
		t.begun = true
		fmt.Fprintf(t.w, layout+"\n", "SPAN", "STARTED", "EXIT", "TOOK", "BY", "COMMAND")
	}
	_, err := io.WriteString(t.w, cut(fmt.Sprintf(layout, fields...), t.width)+"\n")
	return err
}

func (t *table) flush() error { return t.w.Flush() }

// cut shortens a line to so many characters.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// idText is a span id; short is enough of one to tell spans apart that did not begin within the same microsecond.
func idText(id string, short bool) string {
	const digits = 16
	if hex, ours := strings.CutPrefix(id, "spn_"); ours && short && len(hex) > digits {
		return oneLine(hex[:digits])
	}
	return oneLine(id)
}

// whenText is a time: UTC for programs, and what people of this place would say.
func whenText(t, now time.Time, short bool) string {
	switch t = t.Local(); {
	case t.Year() <= 1:
		return "-"
	case !short:
		return t.UTC().Format(time.RFC3339)
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		return t.Format("15:04:05")
	case t.Year() == now.Year():
		return t.Format("Jan _2 15:04")
	}
	return t.Format(time.DateOnly)
}

// statusText is how a command ended.
func statusText(s *trace.Span) string {
	if s.Incomplete() {
		return "incomplete"
	}
	return strconv.Itoa(s.Last().Exit)
}

// tookText is how long a command took, in two or three digits.
func tookText(s *trace.Span) string {
	if s.Incomplete() {
		return "-"
	}
	switch d := time.Duration(s.Last().DurationMS) * time.Millisecond; {
	case d < time.Second:
		return d.String()
	case d < 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	default:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
}
