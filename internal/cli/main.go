// Package cli is the command line: it reads flags, calls one package, and prints.
//
// There is one file for each subcommand. No other package writes to standard output or decides the
// exit status. `substrate -c` is matched by hand, because every recorded command goes through it;
// the tree of subcommands is built only if the first word names one.
package cli

import (
	"os"
	"strings"

	"substrate/internal/capture"
	"substrate/internal/config"
	"substrate/internal/logs"
	"substrate/internal/prestart"
	"substrate/internal/rerun"
)

// Main runs the program and returns its exit status.
func Main() int {
	if os.Args[0] == capture.DrainName {
		return capture.Drain()
	}
	env := os.Environ()
	a := &app{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		name: os.Args[0], args: os.Args[1:], env: env, cfg: config.Load(env),
	}
	if rest := prestart.Rest(); rest != nil {
		return a.finish(rest)
	}
	if a.cfg.Log != "" { // PKG8
		if err := logs.Setup(a.cfg.Log, stderrWriter{a.stderr}); err != nil {
			a.warn("SUBSTRATE_LOG: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	if os.Args[0] == rerun.WorkerName {
		if err := rerun.Work(a.cfg, env, os.Stdin, os.Stdout); err != nil {
			return a.report(err)
		}
		return 0
	}
	return a.run()
}

// run takes the hot path, or builds the tree of subcommands.
func (a *app) run() int {
	if len(a.args) == 0 {
		return a.runShell()
	}
	switch first := a.args[0]; {
	case first == "--version":
		return a.say(versionText())
	case first == "--help":
		return a.runTree([]string{"--help"})
	case first == "world" && len(a.args) > 1 && a.args[1] == "run":
		return a.runWorldRun(a.args[2:])
	case isSubcommand(first):
		return a.runTree(a.args)
	}
	words, ours, err := translate(a.args)
	switch {
	case err != nil:
		return a.report(err)
	case ours:
		return a.runTree(words)
	}
	return a.runShell()
}

// say writes text to standard output.
func (a *app) say(text string) int {
	if _, err := a.stdout.WriteString(text); err != nil {
		return a.report(err)
	}
	return 0
}
