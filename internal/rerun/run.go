// Package rerun runs a plan once and records the run, on the host or in a world; or replays many
// spans.
//
// [Run] is one run: it writes the start line, executes the plan, compares the result with the span
// that is replayed, and writes the complete line. [Many] replays many spans at once, each in a
// process of its own, which is [Work]. Nothing here prints: what happens meanwhile goes to a
// [Watch], and the result is a value. Plans and verdicts are made by package replay.
package rerun

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"substrate/internal/config"
	"substrate/internal/record"
	"substrate/internal/replay"
	"substrate/internal/vault"
	"substrate/internal/world"
	"substrate/trace"
)

// Settings are what the user chooses for a run. They are plain data, because [Many] hands them to
// other processes.
type Settings struct {
	World    bool          // run in a world, not on the host
	Require  bool          // refuse to run without an isolated view of the files
	Strategy string        // "" for that of the configuration
	Upper    string        // as in [world.Spec]
	CopyMax  int64         // bytes; as in [world.Spec]
	Limits   world.Limits  // of the world
	Timeout  time.Duration // 0 for none
	Capture  bool          // also record what the command prints
}

// Watch is called at the moment when something happens during a run.
type Watch struct {
	Warn     func(error)             // something does not work, and the run goes on
	Degraded func(world.Degradation) // the command is about to run with less isolation
	Step     func(world.Step)        // a step of the set-up of a world; nil if nobody wants to see them
	Waiting  func(running int)       // the world has to wait for one of these many to end
	Copying  func(done, total int64) // bytes of a copy of the working directory; 0 for an unknown total
}

// Options say what to run, and how.
type Options struct {
	Settings
	Config    config.Config
	Component string // of the span: replay or world
	Plan      replay.Plan
	Was       *trace.Record // the span that is replayed, its secrets in place; nil for a new command
	Reader    *trace.Reader // finds the replay of Was before this one

	ToFiles bool     // the command prints to files beside the trace
	Stdin   *os.File // nil for /dev/null; Plan.Stdin takes its place
	Stdout  *os.File
	Stderr  *os.File
	TTY     bool // as in [world.Command]

	Watch  Watch
	Report func(replay.Outcome) // called as soon as the span is complete; may be nil
}

// Run runs the plan and records it as a span. The order is that of RPL6: the command ends, then
// the span is complete, then Report is called. Only then does Run wait for what the kernel still
// does to take the world apart, because nothing depends on that.
//
// There is an error only if the command was not run; [Status] is the exit status for it. Signals
// that would end the program go to the command until Run returns (RPL10). A process can do one Run
// at a time.
func Run(o Options) (replay.Outcome, error) {
	if o.Plan.Stdin != "" {
		f, err := os.Open(o.Plan.Stdin)
		if err != nil {
			return replay.Outcome{}, fmt.Errorf("open the standard input: %w", err)
		}
		defer f.Close() //nolint:errcheck // it was only read
		o.Stdin = f
	}
	// From here to the end of the command no signal may end us: the span must be completed
	// and the world removed (RPL10).
	signals, release := world.CatchSignals()
	defer release()
	rec := record.New(o.Config, o.Watch.Warn)
	span := rec.Begin(o.command())
	var done execution
	out, err := openOutput(&o, span.ID())
	if err == nil {
		done, err = o.execute(span.ID(), out, signals)
	}
	if done.world != nil {
		defer func() {
			if err := done.world.Close(); err != nil {
				o.Watch.Warn(err)
			}
		}()
	}
	printed, keepErr := out.keep(span)
	if err != nil {
		span.End(o.refused(span.Elapsed(), err))
		return replay.Outcome{}, errors.Join(err, keepErr, rec.Close())
	}
	if keepErr != nil {
		o.Watch.Warn(keepErr)
	}
	end := o.completion(&done, printed)
	if o.Was != nil {
		end.ReplayContext.Verdict = replay.Compare(*o.Was, o.previous(), &end, o.Plan.Env)
	}
	outcome := replay.Outcome{SpanID: span.ID(), Cmd: span.Cmd(), Plan: o.Plan, Was: o.Was, Result: done.result, Mask: span.Mask}
	outcome.Done = span.End(end)
	if out.files {
		outcome.Stdout, outcome.Stderr = out.stdout.Name(), out.stderr.Name()
	}
	if err := rec.Close(); err != nil {
		o.Watch.Warn(fmt.Errorf("close the trace: %w", err))
	}
	if o.Report != nil {
		o.Report(outcome)
	}
	return outcome, nil
}

// Status is the exit status for a command that was not run: 128+n if signal n came before it was
// started, else 125.
func Status(err error) int {
	var stopped *world.Interrupted
	if errors.As(err, &stopped) {
		return 128 + int(stopped.Signal.(syscall.Signal))
	}
	return 125
}

// command is what the span says about the command.
func (o *Options) command() record.Command {
	c := record.Command{
		Component: o.Component,
		Cmd:       o.Plan.Cmd,
		Shell:     o.Plan.Shell,
		Cwd:       o.Plan.Cwd,
		Umask:     o.Plan.Umask,
		Env:       o.Plan.Env,
		ReplayOf:  o.Plan.ReplayOf,
	}
	if o.Plan.Shell == "" {
		c.Argv = o.Plan.Argv
	} else {
		c.ShellArgs = o.Plan.Argv[1:]
	}
	if o.Was != nil {
		c.Script = o.Was.Script
	}
	return c
}

// completion is what the span says after the command has ended.
func (o *Options) completion(e *execution, printed *trace.Capture) trace.Completion {
	res := e.result
	return trace.Completion{
		Exit: res.Exit, TermSignal: res.Signal, DurationMS: res.Duration.Milliseconds(),
		Usage: trace.Usage{UserMS: res.Usage.User.Milliseconds(), SysMS: res.Usage.System.Milliseconds(), MaxRSSKB: res.Usage.MaxRSS / 1024},
		CPUMS: res.Usage.GroupCPU.Milliseconds(), MemoryPeakBytes: res.Usage.MemoryPeak, OOMKills: res.Usage.OOMKills,
		Capture: printed, ScopesUsed: replay.Scopes(o.Plan.Cwd, res), FSDiff: res.Diff, DegradedComponents: replay.Degraded(res),
		ReplayContext: o.context(),
		WorldID:       res.WorldID, FSStrategy: res.Strategy, FSFallbackReasons: res.Fallbacks,
		SetupUS: e.setup.Microseconds(), TeardownUS: e.teardown.Microseconds(),
	}
}

// refused completes the span of a command that was not run.
func (o *Options) refused(after time.Duration, err error) trace.Completion {
	done := trace.Completion{Exit: Status(err), DurationMS: after.Milliseconds(), ReplayContext: o.context()}
	if o.World {
		done.DegradedComponents = []string{"world"}
	}
	return done
}

// context says how a replay was started; nil for a new command.
func (o *Options) context() *trace.ReplayContext {
	if o.Was == nil {
		return nil
	}
	return &trace.ReplayContext{Mode: o.Plan.Mode, World: o.World, Argv: o.Plan.Argv, StdinPath: o.Plan.Stdin}
}

// previous is the replay of the same span before this one, its secrets in place; nil if there is
// none, or none that can be understood.
func (o *Options) previous() *trace.Record {
	last, err := o.Reader.LastReplay(o.Was.SpanID)
	if err != nil || last == nil {
		return nil
	}
	whole, err := vault.Reveal(o.Config.Trace, *last)
	if err != nil {
		return nil
	}
	return &whole
}
