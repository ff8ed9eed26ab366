package cli

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"substrate/internal/metrics"
	"substrate/trace"
)

// addMetrics adds the subcommand metrics.
func addMetrics(root *cobra.Command, a *app) {
	root.AddCommand(&cobra.Command{
		Use:   "metrics",
		Short: "print metrics about commands and worlds for Prometheus",
		Long: `Print, in Prometheus' text format, metrics about commands and worlds: how many, how they ended, how long worlds took to
set up and to remove, what failed, and how much changed. Each run computes them from the trace.`,
		Example: `  substrate metrics
  substrate metrics > /var/lib/prometheus/node-exporter/substrate.prom.new &&
    mv /var/lib/prometheus/node-exporter/substrate.prom.new /var/lib/prometheus/node-exporter/substrate.prom`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			m := metrics.New()
			err := a.reader().Spans(trace.Filter{}, func(s *trace.Span) bool {
				m.Add(s)
				return true
			})
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // without a trace there are no spans
				return failed(err)
			}
			return a.print(m.Text())
		},
	})
}
