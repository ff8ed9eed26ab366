package cli

import (
	"errors"

	"github.com/spf13/cobra"
)

// subcommands are the first words that are not the name of a script (REC2). The hot
// path looks here so that it need not build the tree; a test compares the two.
var subcommands = [...]string{
	"replay", "world", "trace", "help", "completion",
	cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd,
}

// isSubcommand says whether word names a subcommand.
func isSubcommand(word string) bool {
	for _, s := range subcommands {
		if s == word {
			return true
		}
	}
	return false
}

// runTree gives the arguments to cobra and returns the exit status.
func (a *app) runTree(args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return a.status
	}
	var f *failure
	if errors.As(err, &f) {
		return a.report(err)
	}
	return a.report(&failure{err: err, status: exitUsage, hint: "run `substrate --help`"})
}

// failed marks an error of the work itself, as opposed to one of usage that cobra
// found: the exit status is 125 unless the error says otherwise.
func failed(err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &failure{err: err, status: exitFailure}
}

// newRoot builds the tree of subcommands. RunE of a subcommand returns a [failure], or
// wraps its error with failed; all other errors count as errors of usage.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "substrate",
		Short:         "record commands, and replay them in throw-away worlds",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	addReplay(root, a)
	addWorld(root, a)
	addTrace(root, a)
	return root
}
