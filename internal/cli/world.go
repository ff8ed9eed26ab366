package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"substrate/internal/config"
	"substrate/internal/plain"
	"substrate/internal/replay"
	"substrate/internal/rerun"
	"substrate/internal/show"
	"substrate/internal/world"
	"substrate/internal/world/state"
	"substrate/trace"
)

// addWorld adds the subcommand world and those below it.
func addWorld(root *cobra.Command, a *app) {
	cmd := &cobra.Command{
		Use:   "world",
		Short: "run commands in throw-away views of the machine",
	}
	cmd.AddCommand(worldRunCommand(a), worldListCommand(a), worldGCCommand(a), worldDoctorCommand(a))
	root.AddCommand(cmd)
}

// worldRunFlags are the flags of `world run`.
type worldRunFlags struct {
	runFlags
	command string
	cwd     string
}

// flagSet returns the flags of `world run`. Flags after the first other word belong to the command.
func (f *worldRunFlags) flagSet() *pflag.FlagSet {
	fs := pflag.NewFlagSet("world run", pflag.ContinueOnError)
	fs.Usage = func() {} // the caller prints errors and help
	fs.SetInterspersed(false)
	f.register(fs)
	fs.StringVarP(&f.command, "command", "c", "", "run this command with the shell; words that follow are its $0, $1 …")
	fs.StringVarP(&f.cwd, "cwd", "C", "", "run in this `DIRECTORY`")
	return fs
}

// worldRunCommand is `world run` for help and completion. The flags are parsed by worldRun, which
// the program calls without building the tree.
func worldRunCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [flags] -- ARGV… | -c CMD [NAME ARG…]",
		Short: "run a command in a world and show what it changes",
		Long: `Run a command in a throw-away, copy-on-write view of the whole machine. Its changes are listed and
then thrown away; the host stays as it is. The command gets your terminal, standard input and environment,
except credentials (AWS_*, *_TOKEN, SSH_AUTH_SOCK …): pass those with --env NAME.`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.worldRun(args)
			if errors.Is(err, pflag.ErrHelp) {
				return cmd.Help()
			}
			return err
		},
	}
	cmd.Flags().AddFlagSet(new(worldRunFlags).flagSet())
	return cmd
}

// runWorldRun is `world run` without the tree of subcommands. Building the tree would take most of
// the time before the world is made.
func (a *app) runWorldRun(args []string) int {
	err := a.worldRun(args)
	if errors.Is(err, pflag.ErrHelp) {
		return a.runTree(a.args)
	}
	return a.ended(err)
}

// worldRun runs a new command in a world (WLD11). The error is [pflag.ErrHelp] if help was
// asked for.
func (a *app) worldRun(args []string) error {
	var f worldRunFlags
	fs := f.flagSet()
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	if len(fs.Args()) == 0 && !fs.Changed("command") {
		return usagef("world run needs -- ARGV… or -c CMD")
	}
	if !a.cfg.InWorld { // where settings have no effect
		a.warnSettings(true)
	}
	cfg := a.cfg
	plan, err := a.worldPlan(&f, cfg, fs.Args(), fs.Changed("command"))
	if err != nil {
		return failed(err)
	}
	if cfg.InWorld {
		return a.straight(&f.runFlags, plan)
	}
	return a.rerun(&f.runFlags, rerun.Options{
		Settings: f.settings(cfg, true), Config: cfg, Component: trace.ComponentWorld, Plan: plan,
		Stdin: a.stdin, TTY: !f.json && show.IsTerminal(a.stdin) && show.IsTerminal(a.stdout),
	}, false)
}

// worldPlan is the plan of `world run`.
func (a *app) worldPlan(f *worldRunFlags, cfg config.Config, args []string, shell bool) (replay.Plan, error) {
	cwd, err := workingDir(f.cwd)
	if err != nil {
		return replay.Plan{}, err
	}
	p := replay.Plan{Cwd: cwd, Env: replay.Inherit(a.env, f.env), Umask: currentUmask()}
	if !shell {
		p.Path, p.Argv, p.Mode = args[0], args, "argv"
		p.Cmd = plain.Quoted(args)
		return p, nil
	}
	p.Shell, p.Path, p.Cmd = cfg.Shell, cfg.Shell, f.command
	name := filepath.Base(cfg.Shell)
	p.Argv = append([]string{name, "-c", f.command}, args...)
	p.Mode = name + " -c"
	return p, nil
}

// workingDir is the directory where the command starts: dir, or ours if dir is "". Getwd prefers
// $PWD, so a directory that was entered through a symlink keeps its name.
func workingDir(dir string) (string, error) {
	if dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("find the directory %s: %w", dir, err)
		}
		if info, err := os.Stat(abs); err != nil {
			return "", fmt.Errorf("working directory: %w", err)
		} else if !info.IsDir() {
			return "", fmt.Errorf("working directory %s is not a directory", abs)
		}
		return abs, nil
	}
	cwd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	return cwd, nil
}

// currentUmask returns the umask, which can be read only by setting it. No other goroutine makes
// files at this point.
//
// Source: umask(2).
func currentUmask() int {
	mask := syscall.Umask(0)
	syscall.Umask(mask)
	return mask
}

// straight runs the command without a world and without recording it, because this process is in a
// world already.
func (a *app) straight(f *runFlags, plan replay.Plan) error {
	if f.limits != (limitFlags{}) {
		a.warn("already in a world, whose limits apply; --memory, --pids and --cpus have no effect")
	}
	cmd := plan.Command()
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Timeout = a.stdin, a.stdout, a.stderr, f.timeout
	res, err := world.RunHost(cmd, nil)
	if err != nil {
		return failed(err)
	}
	if res.ExecErr != nil {
		message(a.stderr, "error", show.ExecError(plan.Path, res.ExecErr))
	}
	a.status = res.Exit
	return nil
}

// worldListCommand is `world list`.
func worldListCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "show running and left-over worlds",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			states, err := state.List(rerun.Dirs(a.cfg))
			if err != nil {
				return withRemedy(fmt.Errorf("list worlds: %w", err))
			}
			return a.printEither(asJSON, struct {
				Worlds []state.Listed `json:"worlds"`
			}{append([]state.Listed{}, states...)}, show.Worlds(states, time.Now()))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// worldGCCommand is `world gc`.
func worldGCCommand(a *app) *cobra.Command {
	var asJSON, dryRun bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "remove what crashed worlds left behind; never touch running worlds",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			found, err := state.GC(rerun.Dirs(a.cfg), dryRun)
			if printErr := a.printEither(asJSON, struct {
				DryRun bool           `json:"dry_run"`
				Worlds []state.Listed `json:"worlds"`
			}{dryRun, append([]state.Listed{}, found...)}, show.Leftovers(found, dryRun)); printErr != nil {
				return printErr
			}
			if err != nil {
				return withRemedy(fmt.Errorf("remove left-over worlds: %w", err))
			}
			return leftOver(found, dryRun)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would be removed")
	return cmd
}

// leftOver is the error if gc could not remove everything.
func leftOver(found []state.Listed, dryRun bool) error {
	kept := 0
	for _, l := range found {
		if !dryRun && !l.Removed {
			kept++
		}
	}
	if kept == 0 {
		return nil
	}
	return failed(fmt.Errorf("%d left-over worlds could not be removed", kept))
}
