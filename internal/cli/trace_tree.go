package cli

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"substrate/internal/replay"
	"substrate/internal/show"
	"substrate/trace"
)

// traceTreeCommand is `trace tree`.
func traceTreeCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tree [SESSION]",
		Short: "show which command started which",
		Long: `Show the commands of a session as a tree: span, duration, exit status and command. SESSION is
a session id or the beginning of one; without it, the session of the last command. A parent that is not in the trace
is marked "parent unknown".
--json prints an object with session_id and spans, in the order of the tree, each with its depth.`,
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
				return a.printJSON(show.TreeJSON(session, nodes))
			}
			w := bufio.NewWriter(a.stdout)
			return failed(errors.Join(show.Tree(w, nodes, show.TableWidth(a.stdout)), w.Flush()))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// sessionTree reads the spans of the session whose id begins with ref. With "" it takes the session
// of the last command.
func (a *app) sessionTree(ref string) (session string, nodes []trace.Node, err error) {
	r := a.reader()
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
		return "", nil, failed(fmt.Errorf("ambiguous session id: %s matches %s and others", ref, strings.Join(sessions, ", ")))
	}
	return sessions[0], trace.Tree(spans), nil
}

// completeSpans offers the newest spans as completions of SPAN.
func (a *app) completeSpans(_ *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	offers := []cobra.Completion{cobra.CompletionWithDesc("last", "the last command")}
	a.recent(func(s *trace.Span) {
		if id := s.ID(); strings.HasPrefix(id, typed) {
			offers = append(offers, cobra.CompletionWithDesc(id, show.Cut(show.Line(s.Last().Cmd), 60)))
		}
	})
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeSessions offers the newest sessions as completions of SESSION.
func (a *app) completeSessions(_ *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var offers []cobra.Completion
	seen := make(map[string]bool)
	a.recent(func(s *trace.Span) {
		if id := s.Last().SessionID; len(args) == 0 && !seen[id] && strings.HasPrefix(id, typed) {
			seen[id] = true
			offers = append(offers, cobra.CompletionWithDesc(id, show.Cut(show.Line(s.Last().Cmd), 60)))
		}
	})
	return offers, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// recent calls fn with the newest spans. A completion cannot print errors, so they are ignored.
func (a *app) recent(fn func(*trace.Span)) {
	n := 0
	r := &trace.Reader{Path: a.cfg.Trace}
	_ = r.Spans(trace.Filter{}, func(s *trace.Span) bool {
		fn(s)
		n++
		return n < 200
	})
}
