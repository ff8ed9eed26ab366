package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// addWorld adds the subcommand world and those below it.
func addWorld(root *cobra.Command, a *app) {
	root.AddCommand(&cobra.Command{
		Use:   "world",
		Short: "not yet available",
		RunE: func(*cobra.Command, []string) error {
			return failed(errors.New("world: not yet available"))
		},
	})
}
