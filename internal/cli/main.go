// Package cli is the command line: it reads flags, calls one package, and prints.
//
// There is one file for each subcommand. Nothing else in this program knows standard
// output or the exit status. The way to `substrate -c` is short and matched by hand,
// because it stands in front of every command that somebody runs; the tree of
// subcommands is only built if the first word names one.
package cli

import "os"

// Main runs the program with the arguments and files of the process, and gives its
// exit status.
func Main() int {
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		name: os.Args[0], args: os.Args[1:], env: os.Environ(),
	}
	return a.run()
}

// run decides between the hot path and the tree of subcommands.
func (a *app) run() int {
	return a.runTree(a.args)
}
