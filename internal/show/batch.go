package show

import (
	"fmt"
	"strings"

	"substrate/fsdiff"
	"substrate/internal/replay"
)

// Batch is a table of replayed spans for a terminal of so many columns. With a width of 0 nothing
// is cut, and tabs separate the fields.
func Batch(spans []*replay.BatchSpan, width int) string {
	const layout = "%-16s  %-12s  %s"
	var b strings.Builder
	if len(spans) > 0 && width > 0 {
		fmt.Fprintf(&b, layout+"\n", "SPAN", "VERDICT", "COMMAND")
	}
	for _, s := range spans {
		reason := fsdiff.Escape(s.Reason)
		if width == 0 {
			b.WriteString(strings.Join([]string{s.SpanID, s.Status, Line(s.Cmd), reason}, "\t") + "\n")
			continue
		}
		b.WriteString(Cut(fmt.Sprintf(layout, idText(s.SpanID, true), s.Status, Line(s.Cmd)), width) + "\n")
		if reason != "" {
			b.WriteString(Cut(strings.Repeat(" ", 18)+reason, width) + "\n")
		}
	}
	return b.String()
}
