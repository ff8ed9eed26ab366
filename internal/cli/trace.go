package cli

import (
	"github.com/spf13/cobra"

	"substrate/internal/replay"
	"substrate/internal/show"
	"substrate/trace"
)

// addTrace adds the subcommand trace and those below it.
func addTrace(root *cobra.Command, a *app) {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "show, list, check and compact recorded commands",
	}
	cmd.AddCommand(traceShowCommand(a), traceListCommand(a), traceTreeCommand(a),
		traceValidateCommand(a), traceCompactCommand(a), traceSchemaCommand(a))
	root.AddCommand(cmd)
}

// traceShowCommand is `trace show`.
func traceShowCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show SPAN",
		Short: "show one recorded command",
		Long: `Show one recorded command. SPAN is a span id, an unambiguous prefix of one, "last" or "last~N".
--json prints the complete line of the span, or its start line if it has none.`,
		Example: `  substrate trace show last
  substrate trace show last~2 --json | jq .fs_diff`,
		ValidArgsFunction: a.completeSpans,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("trace show needs one SPAN: an id, a prefix of one, or last")
			}
			span, err := a.reader().Find(args[0])
			if err != nil {
				return withRemedy(replay.LookupError(err))
			}
			if asJSON {
				return a.print(string(trace.AppendJSON(nil, span.Last())) + "\n")
			}
			return a.print(show.Span(span))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the line of the trace as one JSON object")
	return cmd
}
