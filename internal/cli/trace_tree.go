package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"substrate/internal/config"
	"substrate/internal/replay"
	"substrate/trace"
)

// traceTreeCommand is `trace tree`.
func traceTreeCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tree [SESSION]",
		Short: "show which command started which",
		Long: `Show the commands of a session as a tree: the span, how long it took, its exit status, and the command. SESSION is
a session id or the beginning of one; without it, the session of the last command. A parent that the trace does not hold
is marked "parent unknown".
With --json it prints an object with session_id and spans, in the order of the tree, each with its depth.`,
		Example: `  substrate -c 'make -j8'; substrate trace tree
  substrate trace tree --json | jq '[.spans[] | select(.exit != 0)] | length'`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeSessions,
		RunE: func(_ *cobra.Command, args []string) error {
			session, nodes, err := a.sessionTree(append(args, "")[0])
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(treeJSON(session, nodes))
			}
			w := bufio.NewWriter(a.stdout)
			return failed(errors.Join(writeTree(w, nodes, a.width()), w.Flush()))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// sessionTree reads the spans of the session whose id begins with ref; "" is that of the last command.
func (a *app) sessionTree(ref string) (session string, nodes []trace.Node, err error) {
	r := a.reader(config.Load(a.env))
	if ref == "" {
		last, err := r.Find("last")
		if err != nil {
			return "", nil, withRemedy(replay.LookupError(err))
		}
		ref = last.Last().SessionID
	}
	var spans []*trace.Span
	var sessions []string
	err = r.Spans(trace.Filter{Session: ref}, func(s *trace.Span) bool {
		if id := s.Last().SessionID; !slices.Contains(sessions, id) {
			sessions = append(sessions, id)
		}
		spans = append(spans, s)
		return len(sessions) <= 1
	})
	switch {
	case err != nil:
		return "", nil, withRemedy(replay.LookupError(err))
	case len(sessions) == 0:
		return "", nil, &failure{err: fmt.Errorf("no such session: %s", ref), hint: "`substrate trace list --json | jq -r '.[].session_id' | uniq` lists sessions"}
	case len(sessions) > 1:
		return "", nil, failed(fmt.Errorf("ambiguous session id: %s fits %s and others", ref, strings.Join(sessions, ", ")))
	}
	return sessions[0], trace.Tree(spans), nil
}

// treeSpan is a span in the JSON of a tree.
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

// sessionJSON is the JSON of a tree.
type sessionJSON struct {
	SessionID string     `json:"session_id"`
	Spans     []treeSpan `json:"spans"`
}

func treeJSON(session string, nodes []trace.Node) sessionJSON {
	out := sessionJSON{session, []treeSpan{}}
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

// maxIndent keeps a hostile tree from growing with the square of its depth.
const maxIndent = 40

// writeTree draws a tree; a width of 0 cuts nothing.
func writeTree(w io.Writer, nodes []trace.Node, width int) error {
	var open [maxIndent + 1]bool // by depth: more children of the same parent follow
	prefixes := make([]string, len(nodes))
	for i, n := range slices.Backward(nodes) {
		depth := min(n.Depth, maxIndent)
		clear(open[depth+1:])
		prefixes[i] = branch(open[:depth+1])
		open[depth] = true
	}
	for i, n := range nodes {
		text := fmt.Sprintf("%-16s %8s  %-10s  %s%s%s", idText(n.Span.ID(), width > 0), tookText(n.Span), statusText(n.Span), prefixes[i], oneLine(n.Span.Last().Cmd), remark(n))
		if width > 0 {
			text = cut(text, width)
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

// remark is what is odd about the place of a span.
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

// completeSpans offers the newest spans to a shell that completes a SPAN.
func (a *app) completeSpans(_ *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	offers := []cobra.Completion{cobra.CompletionWithDesc("last", "the last command")}
	a.recent(func(s *trace.Span) {
		if id := s.ID(); strings.HasPrefix(id, typed) {
			offers = append(offers, cobra.CompletionWithDesc(id, cut(oneLine(s.Last().Cmd), 60)))
		}
	})
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeSessions offers the newest sessions.
func (a *app) completeSessions(_ *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var offers []cobra.Completion
	seen := make(map[string]bool)
	a.recent(func(s *trace.Span) {
		if id := s.Last().SessionID; len(args) == 0 && !seen[id] && strings.HasPrefix(id, typed) {
			seen[id] = true
			offers = append(offers, cobra.CompletionWithDesc(id, cut(oneLine(s.Last().Cmd), 60)))
		}
	})
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// recent gives some of the newest spans; none if the trace cannot be read, for a completion has nobody to tell.
func (a *app) recent(fn func(*trace.Span)) {
	n := 0
	r := &trace.Reader{Path: config.Load(a.env).Trace}
	_ = r.Spans(trace.Filter{}, func(s *trace.Span) bool {
		fn(s)
		n++
		return n < 200
	})
}
