package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// addTrace adds the subcommand trace and those below it.
func addTrace(root *cobra.Command, a *app) {
	root.AddCommand(&cobra.Command{
		Use:   "trace",
		Short: "not yet available",
		RunE: func(*cobra.Command, []string) error {
			return failed(errors.New("trace: not yet available"))
		},
	})
}
