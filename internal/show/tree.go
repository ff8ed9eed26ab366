package show

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"substrate/trace"
)

// treeSpan is a span of a Session.
type treeSpan struct {
	SpanID     string `json:"span_id"`
	ParentSpan string `json:"parent_span"`
	Depth      int    `json:"depth"` // 0 for a root
	Component  string `json:"component"`
	Cmd        string `json:"cmd"`
	Began      string `json:"began"`       // RFC 3339; "" if unknown
	DurationMS *int64 `json:"duration_ms"` // null if incomplete
	Exit       *int   `json:"exit"`        // null if incomplete
	Incomplete bool   `json:"incomplete"`
	Orphan     bool   `json:"orphan"` // its parent is not in the trace
	Cycle      bool   `json:"cycle"`  // it is its own ancestor
}

// Session is a tree as --json prints it.
type Session struct {
	SessionID string     `json:"session_id"`
	Spans     []treeSpan `json:"spans"`
}

// TreeJSON makes the Session of a tree.
func TreeJSON(session string, nodes []trace.Node) Session {
	out := Session{session, []treeSpan{}}
	for _, n := range nodes {
		r := n.Span.Last()
		s := treeSpan{
			SpanID: r.SpanID, ParentSpan: r.ParentSpan, Depth: n.Depth, Component: r.Component, Cmd: r.Cmd,
			Incomplete: n.Span.Incomplete(), Orphan: n.Orphan, Cycle: n.Cycle,
		}
		if began := n.Span.Began(); !began.IsZero() {
			s.Began = trace.FormatTime(began)
		}
		if !s.Incomplete {
			s.DurationMS, s.Exit = &r.DurationMS, &r.Exit
		}
		out.Spans = append(out.Spans, s)
	}
	return out
}

// maxIndent bounds the output for a deep tree, which would grow with the square of its depth.
const maxIndent = 40

// Tree draws a tree; a width of 0 cuts nothing.
func Tree(w io.Writer, nodes []trace.Node, width int) error {
	var open [maxIndent + 1]bool // by depth: more children of the same parent follow
	prefixes := make([]string, len(nodes))
	for i, n := range slices.Backward(nodes) {
		depth := min(n.Depth, maxIndent)
		clear(open[depth+1:])
		prefixes[i] = branch(open[:depth+1])
		open[depth] = true
	}
	for i, n := range nodes {
		text := fmt.Sprintf("%-16s %8s  %-10s  %s%s%s", idText(n.Span.ID(), width > 0), tookText(n.Span), statusText(n.Span), prefixes[i], Line(n.Span.Last().Cmd), remark(n))
		if width > 0 {
			text = Cut(text, width)
		}
		if _, err := io.WriteString(w, text+"\n"); err != nil {
			return err
		}
	}
	return nil
}

// branch draws what stands before a command: one column for each ancestor below the root.
func branch(open []bool) string {
	depth := len(open) - 1
	if depth == 0 {
		return ""
	}
	var b strings.Builder
	for _, more := range open[1:depth] {
		b.WriteString(map[bool]string{true: "│  ", false: "   "}[more])
	}
	b.WriteString(map[bool]string{true: "├─ ", false: "└─ "}[open[depth]])
	return b.String()
}

// remark explains an unusual place of a span in the tree.
func remark(n trace.Node) string {
	switch {
	case n.Orphan:
		return "  (parent unknown)"
	case n.Cycle:
		return "  (its own ancestor)"
	case n.Depth > maxIndent:
		return fmt.Sprintf("  (depth %d)", n.Depth)
	}
	return ""
}
