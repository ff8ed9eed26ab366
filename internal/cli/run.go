package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"substrate/internal/config"
	"substrate/internal/probe"
	"substrate/internal/replay"
	"substrate/internal/rerun"
	"substrate/internal/show"
	"substrate/internal/vault"
	"substrate/internal/world"
)

// runFlags are the flags that `replay` and `world run` share.
type runFlags struct {
	strategy     string
	upper        string
	copyMax      byteSize
	timeout      time.Duration
	json         bool
	capture      bool
	noReport     bool
	requireWorld bool
	verbose      bool
	env          []string
	maxLines     int
	limits       limitFlags
}

// register adds the flags to a set.
func (f *runFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.strategy, "strategy", "", "how the world gets its view of the files: "+strings.Join(world.Strategies(), ", ")+" (default: the first that works)")
	fs.StringVar(&f.upper, "upper", "", "where changes are kept: disk, tmpfs or tmpfs:SIZE (default: disk)")
	fs.Var(&f.copyMax, "copy-max", "with copy-diff, do not copy a working directory larger than this (default: the free space)")
	fs.DurationVar(&f.timeout, "timeout", 0, "end the command after this time; the exit status is then 124")
	f.limits.register(fs)
	fs.BoolVar(&f.json, "json", false, "print one JSON object; it names the files that hold the command's output")
	fs.BoolVar(&f.capture, "capture", false, "also record what the command prints (SUBSTRATE_CAPTURE=1)")
	fs.BoolVar(&f.noReport, "no-report", false, "print neither report nor verdict")
	fs.BoolVar(&f.requireWorld, "require-world", false, "refuse to run without an isolated view of the files")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "print each step as it happens")
	fs.StringArrayVar(&f.env, "env", nil, "pass this variable to the command: `NAME` or NAME=VALUE (repeatable)")
	fs.IntVar(&f.maxLines, "max-lines", 1000, "list at most `N` changes in the report; 0 for all")
}

// check refuses impossible values.
func (f *runFlags) check() error {
	switch {
	case f.timeout < 0:
		return usagef("--timeout %s is negative", f.timeout)
	case f.json && f.noReport:
		return usagef("--json and --no-report exclude each other")
	}
	return f.limits.check()
}

// settings combines the flags with the configuration.
func (f *runFlags) settings(cfg config.Config, isolate bool) rerun.Settings {
	s := rerun.Settings{
		World: isolate, Require: f.requireWorld || cfg.RequireWorld, Strategy: f.strategy, Upper: f.upper,
		CopyMax: int64(f.copyMax), Limits: f.limits.of(), Timeout: f.timeout, Capture: f.capture,
	}
	if s.Upper == "disk" {
		s.Upper = "" // the default
	}
	return s
}

// rerun runs a plan, shows what happens meanwhile, and prints the outcome. With check, a difference
// from the recorded run is a failure. It sets the exit status.
func (a *app) rerun(f *runFlags, o rerun.Options, check bool) error {
	degraded := a.degradations()
	o.ToFiles, o.Stdout, o.Stderr = f.json, a.stdout, a.stderr
	o.Watch = rerun.Watch{
		Warn: func(err error) { a.warn("%v", err) }, Degraded: degraded, Waiting: a.waiting, Copying: a.copying(o.Plan.Cwd),
	}
	if f.verbose {
		o.Watch.Step = a.step
	}
	var printErr error
	o.Report = func(outcome replay.Outcome) { printErr = a.printOutcome(f, &outcome, degraded) }
	outcome, err := rerun.Run(o)
	if err != nil {
		return withRemedy(err)
	}
	a.status = outcome.Result.Exit
	if v := outcome.Verdict(); printErr == nil && check && v != nil && replay.Differs(v) {
		return failed(errors.New("the replay differs from the recorded run"))
	}
	return failed(printErr)
}

// copying returns a function that shows how much of a working directory is copied (DIF7).
func (a *app) copying(dir string) func(done, total int64) {
	p := show.NewProgress(a.stderr, "copying "+dir)
	return func(done, total int64) {
		p.At(done, total)
		if done >= total {
			p.Done()
		}
	}
}

// step prints a step of the set-up of a world (RPL8).
func (a *app) step(s world.Step) {
	name := s.Name
	if name == "strategy" {
		name = "world strategy"
	}
	a.verbose(name, s.Detail)
}

// verbose prints one line of --verbose.
func (a *app) verbose(name, value string) {
	_, _ = io.WriteString(a.stderr, "[replay] "+name+": "+value+"\n")
}

// degradations returns a function that prints a degradation, each message once (RPL9).
func (a *app) degradations() func(world.Degradation) {
	var printed []string
	return func(d world.Degradation) {
		if slices.Contains(printed, d.Message) {
			return
		}
		printed = append(printed, d.Message)
		_, _ = io.WriteString(a.stderr, "[replay] warn: "+d.Message+"\n")
		if d.Remedy != "" {
			message(a.stderr, "hint", d.Remedy)
		}
	}
}

// printOutcome prints warnings and the report, without secrets.
func (a *app) printOutcome(f *runFlags, o *replay.Outcome, degraded func(world.Degradation)) error {
	for _, d := range o.Result.Degraded {
		if d.Message != "" && (d.Asked || f.verbose) { // RPL9
			degraded(d)
		}
	}
	if err := o.Result.ExecErr; err != nil {
		message(a.stderr, "error", o.Mask(show.ExecError(o.Plan.Path, err)))
	}
	if f.verbose {
		a.sayUpper(o.Result)
	}
	switch {
	case f.json:
		text, err := o.Report().JSON()
		if err != nil {
			return err
		}
		if _, err := a.stdout.Write(text); err != nil {
			return fmt.Errorf("print the report: %w", err)
		}
	case !f.noReport:
		_, _ = io.WriteString(a.stderr, o.Mask(show.Outcome(o, f.maxLines)))
	}
	return nil
}

// sayUpper prints how many entries were examined if there is no change to show (RPL8).
func (a *app) sayUpper(res *world.Result) {
	switch c := res.Compared; {
	case res.Diff == nil || res.Diff.Counts.Total() > 0:
	case c != nil:
		_, _ = fmt.Fprintf(a.stderr, "[replay] copy-diff compared %d→%d entries\n", c.Before, c.After)
	default:
		a.verbose("upper entries", fmt.Sprint(res.UpperEntries))
	}
}

// withRemedy returns a failure with the remedy that err knows.
func withRemedy(err error) error {
	var refused *replay.Error
	var missing *probe.Error
	var lost *vault.MissingError
	var stopped *world.Interrupted
	switch {
	case errors.As(err, &stopped):
		return &failure{err: err, status: rerun.Status(err)}
	case errors.As(err, &refused):
		return &failure{err: err, hint: refused.Hint}
	case errors.As(err, &lost):
		return &failure{err: err, hint: "put the vault.jsonl of this trace into its directory, or run the command anew"}
	case errors.As(err, &missing):
		return &failure{err: err, hint: missing.Remedy}
	}
	return failed(err)
}
