package cli

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"substrate/fsdiff"
	"substrate/internal/config"
	"substrate/internal/replay"
	"substrate/internal/rerun"
	"substrate/internal/show"
	"substrate/trace"
)

// replayFlags are the flags of `replay`.
type replayFlags struct {
	runFlags
	world   bool
	noWorld bool
	stdin   string
	schema  bool
	strict  bool
	batch   batchFlags
}

// register adds the flags to a set.
func (f *replayFlags) register(fs *pflag.FlagSet) {
	f.runFlags.register(fs)
	fs.BoolVar(&f.world, "world", false, "replay in a world (SUBSTRATE_REPLAY_USE_WORLD=1)")
	fs.BoolVar(&f.noWorld, "no-world", false, "replay on this host, without isolation")
	fs.StringVar(&f.stdin, "stdin", "", "read standard input from this `FILE` (default: empty)")
	fs.BoolVar(&f.verbose, "replay-verbose", false, "the same as --verbose")
	fs.BoolVar(&f.strict, "check", false, "exit with status 125 if the replay differs from the recorded run")
	f.batch.register(fs)
	fs.BoolVar(&f.schema, "json-schema", false, "print the JSON Schema of --json and exit; with --all, --since, --session or --times, the schema of many replays")
}

// addReplay adds the subcommand replay.
func addReplay(root *cobra.Command, a *app) {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay [flags] SPAN | --all | --since TIME | --session ID",
		Short: "run a recorded command again, on the host or in a world",
		Long: `Run a recorded command again, exactly as it was recorded, from the machine as it is now.

SPAN is a span id, an unambiguous prefix of one, "last" or "last~N". The command gets the recorded
PATH, HOME, LANG and a few more variables, those that --env adds, and no others. Its standard input is
empty unless --stdin names a file. The exit status is the command's own.

With --all, --since or --session, substrate replays many commands, each in a world of its own unless you
give --no-world, and prints a table of verdicts. --times N replays each command N times and lists what
was not the same each time.`,
		ValidArgsFunction: a.completeSpans,
		Args: func(_ *cobra.Command, args []string) error {
			if !f.schema && !f.batch.wanted() && len(args) != 1 {
				return errors.New("replay needs one SPAN: an id, a prefix of one, or last; or --all, --since or --session")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case f.schema && f.batch.wanted():
				return a.print(string(replay.BatchSchema()))
			case f.schema:
				return a.print(string(replay.Schema()))
			case f.batch.wanted():
				return a.replayMany(f, args)
			}
			return a.replay(f, args[0])
		},
	}
	f.register(cmd.Flags())
	root.AddCommand(cmd)
}

// replay runs the command of the span that ref names again.
func (a *app) replay(f replayFlags, ref string) error {
	isolate, err := f.checkIsolation(a.cfg, f.world || a.cfg.UseWorld)
	if err != nil {
		return err
	}
	reader := a.reader()
	span, shown, plan, err := rerun.Find(reader, ref, replay.Options{Env: f.env, Environ: a.env, Stdin: f.stdin})
	if err != nil {
		return withRemedy(err)
	}
	if f.verbose {
		a.introduce(plan, shown, isolate)
	}
	if path := rerun.ChangedScript(&span); path != "" {
		a.warn("the script %s has changed since it was recorded; the replay runs it as it is now", fsdiff.Escape(path))
	}
	return a.rerun(&f.runFlags, rerun.Options{
		Settings: f.settings(a.cfg, isolate), Config: a.cfg, Component: trace.ComponentReplay, Plan: plan, Was: &span, Reader: reader,
	}, f.strict)
}

// checkIsolation checks the flags and decides between host and world (RPL5). If a world is
// required, the command is never run on the host.
func (f *replayFlags) checkIsolation(cfg config.Config, world bool) (bool, error) {
	if err := f.check(); err != nil {
		return false, err
	}
	require := f.requireWorld || cfg.RequireWorld
	switch {
	case f.world && f.noWorld:
		return false, usagef("--world and --no-world exclude each other")
	case f.noWorld && require:
		return false, &failure{
			err:  errors.New("a world is required, so the command is not run on the host"),
			hint: "drop --no-world, or drop --require-world and unset SUBSTRATE_REQUIRE_WORLD",
		}
	}
	isolate := !f.noWorld && (world || require)
	if !isolate && f.limits != (limitFlags{}) {
		return false, usagef("--memory, --pids and --cpus need a world: --world or SUBSTRATE_REPLAY_USE_WORLD=1")
	}
	return isolate, nil
}

// reader is a reader of the trace that warns about torn lines.
func (a *app) reader() *trace.Reader {
	return &trace.Reader{
		Path: a.cfg.Trace, Inside: a.cfg.ParentSpan,
		Warn: func(w trace.Warning) {
			if errors.Is(w.Err, trace.ErrTorn) {
				a.warn("%s", w)
			}
		},
	}
}

// introduce prints what is about to be run (RPL8).
func (a *app) introduce(plan replay.Plan, shown string, isolate bool) {
	a.verbose("span_id", plan.ReplayOf)
	a.verbose("cmd", show.Line(shown))
	a.verbose("cwd", fsdiff.Escape(plan.Cwd))
	a.verbose("mode", show.Line(plan.Mode))
	if !isolate {
		a.verbose("isolation", "off, running on the host")
	}
}
