package show

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"substrate/trace"
)

// Printer prints spans one after the other.
type Printer interface {
	Add(span *trace.Span) error
	Flush() error
}

// NewArray prints the lines of the trace as one JSON array.
func NewArray(w io.Writer) Printer { return &array{w: bufio.NewWriter(w)} }

// NewTable prints spans for people: aligned and cut if f is a terminal; else whole, with tabs
// between the fields and without a head line.
func NewTable(f *os.File, now time.Time) Printer {
	return &table{w: bufio.NewWriter(f), width: TableWidth(f), now: now}
}

type array struct {
	w    *bufio.Writer
	line []byte
	n    int
}

func (p *array) Add(s *trace.Span) error {
	p.line = append(p.line[:0], ",\n"...)
	if p.n == 0 {
		p.line = append(p.line[:0], "[\n"...)
	}
	p.n++
	p.line = trace.AppendJSON(p.line, s.Last())
	_, err := p.w.Write(p.line)
	return err
}

func (p *array) Flush() error {
	end := "\n]\n"
	if p.n == 0 {
		end = "[]\n"
	}
	_, err := p.w.WriteString(end)
	return errors.Join(err, p.w.Flush())
}

type table struct {
	w     *bufio.Writer
	width int // of the terminal, 0 for none
	now   time.Time
	begun bool
}

func (t *table) Add(s *trace.Span) error {
	r := s.Last()
	fields := []any{idText(r.SpanID, t.width > 0), whenText(s.Began(), t.now, t.width > 0), statusText(s), tookText(s), r.Component, Line(r.Cmd)}
	if t.width == 0 {
		_, err := fmt.Fprintf(t.w, "%s\t%s\t%s\t%s\t%s\t%s\n", fields...)
		return err
	}
	const layout = "%-16s  %-12s  %-10s  %7s  %-6s  %s"
	if !t.begun {
		t.begun = true
		fmt.Fprintf(t.w, layout+"\n", "SPAN", "STARTED", "EXIT", "TOOK", "BY", "COMMAND")
	}
	_, err := io.WriteString(t.w, Cut(fmt.Sprintf(layout, fields...), t.width)+"\n")
	return err
}

func (t *table) Flush() error { return t.w.Flush() }

// idText is a span id. The short form tells spans apart that did not begin within the same
// microsecond.
func idText(id string, short bool) string {
	const digits = 16
	if hex, ours := strings.CutPrefix(id, "spn_"); ours && short && len(hex) > digits {
		return Line(hex[:digits])
	}
	return Line(id)
}

// whenText is a time: RFC 3339 in UTC, or with short the local time, as much of it as is needed.
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
