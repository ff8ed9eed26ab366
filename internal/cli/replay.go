package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// addReplay adds the subcommand replay and those below it.
func addReplay(root *cobra.Command, a *app) {
	root.AddCommand(&cobra.Command{
		Use:   "replay",
		Short: "not yet available",
		RunE: func(*cobra.Command, []string) error {
			return failed(errors.New("replay: not yet available"))
		},
	})
}
