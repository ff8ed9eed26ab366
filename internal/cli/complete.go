package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// isCompletion reports whether a shell asks for completions.
func isCompletion(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// offer lets the shell complete the options that [app.run] matches by hand. The tree never parses
// them.
func offer(root *cobra.Command) {
	for _, o := range [...]struct{ name, what string }{
		{"ci", "stop at the first error"},
		{"no-exit-on-error", "undo --ci"},
		{"capture", "also record what the command prints"},
		{"shim-skip", "no shims for this command"},
		{"shim-deploy", "create or repair the shims"},
		{"shim-status", "print the status of the shims"},
		{"shim-remove", "remove the shims"},
		{"doctor", "show what this machine supports"},
	} {
		root.Flags().Bool(o.name, false, o.what)
	}
	for _, o := range [...]struct{ name, what string }{
		{"shell", "use this shell"},
		{"replay", "run a recorded command again"},
		{"trace", "show a recorded command"},
	} {
		root.Flags().String(o.name, "", o.what)
	}
}

// onlyGroups makes subcommands that only hold others refuse unknown words.
func onlyGroups(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		if cmd.Runnable() || !cmd.HasSubCommands() {
			continue
		}
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &failure{
					err: fmt.Errorf("%s has no subcommand %q", cmd.CommandPath(), args[0]), status: exitUsage,
					hint: "run `" + cmd.CommandPath() + " --help`",
				}
			}
			return cmd.Help()
		}
	}
}
