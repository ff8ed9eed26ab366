package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"substrate/internal/version"
)

// subcommands are the first words that are not the name of a script (REC2). The hot path looks here
// because building the tree is slow; a test compares the two.
var subcommands = [...]string{
	"replay", "world", "trace", "metrics", "shim", "help", "completion",
	cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd,
}

// isSubcommand reports whether word names a subcommand.
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
	if isCompletion(args) {
		offer(root)
	}
	return a.ended(root.Execute())
}

// ended prints the error of a subcommand, and returns the exit status.
func (a *app) ended(err error) int {
	if err == nil {
		return a.status
	}
	var f *failure
	if errors.As(err, &f) {
		return a.report(err)
	}
	return a.report(&failure{err: err, status: exitUsage, hint: "run `substrate --help`"})
}

// failed marks an error as one of the work, with exit status 125 unless it has one already. Errors
// that are not marked are errors of usage, found by cobra.
func failed(err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &failure{err: err, status: exitFailure}
}

const longHelp = `substrate runs commands as bash does, and records each of them as a span in ~/.substrate/trace.jsonl.
Any span can be replayed, on the machine itself or in a world: a throw-away view of the whole machine,
without network, that shows what the command changes and which peers it tries to reach.

To record, give it what you would give bash:

  -c CMD [name [arg...]]    run a command; -lc, -ec, -o pipefail, --login, --norc and all
                            other options of bash are passed to the shell
  -f SCRIPT [arg...]        run a script
  SCRIPT [arg...]           the same; write ./trace for a script named like a subcommand
  (nothing)                 run commands from standard input; on a terminal, start your
                            shell, which is not recorded yet

  --shell PATH              use this shell instead of $SHELL or /bin/bash
  --ci                      add -o errexit -o nounset -o pipefail
  --no-exit-on-error        undo --ci
  --capture                 also record what the command prints (SUBSTRATE_CAPTURE=1)
  --shim-skip               deploy no shims, and put none on PATH

Some subcommands can be written like options:

  --replay SPAN             substrate replay SPAN          (with --replay-verbose: --verbose)
  --trace SPAN              substrate trace show SPAN
  --doctor                  substrate world doctor
  --shim-deploy, --shim-status, --shim-remove
                            substrate shim deploy|status|remove

A SPAN is an id, the beginning of one, or last, last~1, ... The exit status is the command's own: 128+n
if signal n killed it, 126 or 127 if it could not be started. 2 means wrong usage, and 125 that
substrate itself failed.`

const examples = `  substrate -c 'make && ./run'              record a command
  SHELL=$(command -v substrate) my-agent    record every command of an agent
  substrate trace show last                 show the last one
  substrate replay last                     run it again, for real
  substrate replay --world last             run it again in a world, and list what it changes
  substrate world run -- ./install.sh       run something new in a world
  substrate shim status                     check that programs started by commands are recorded`

// newRoot builds the tree of subcommands. RunE of a subcommand returns a [failure], or an error
// wrapped with failed; all other errors count as errors of usage.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:                   "substrate [option of the shell]... -c CMD [name [arg...]] | SCRIPT [arg...] | SUBCOMMAND",
		Short:                 "record commands, and replay them in throw-away worlds",
		Long:                  longHelp,
		Example:               examples,
		Version:               version.Version,
		DisableFlagsInUseLine: true,
		SilenceErrors:         true,
		SilenceUsage:          true,
		Args:                  cobra.ArbitraryArgs,
		RunE:                  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			if !isCompletion([]string{cmd.Name()}) { // a line is being typed
				a.warnSettings(true)
			}
		},
	}
	root.Flags().Bool("version", false, "print the version") // without -v, which is bash's
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	addReplay(root, a)
	addWorld(root, a)
	addTrace(root, a)
	addMetrics(root, a)
	addShim(root, a)
	onlyGroups(root)
	return root
}
