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
	fs.StringVar(&f.strategy, "strategy", "", "view of the files: "+strings.Join(world.Strategies(), ", ")+" (default: the first that works)")
	fs.StringVar(&f.upper, "upper", "", "where changes are kept: disk, tmpfs or tmpfs:SIZE (default: disk)")
	fs.Var(&f.copyMax, "copy-max", "refuse to copy a working directory with more than this, for copy-diff (default: the free space)")
	fs.DurationVar(&f.timeout, "timeout", 0, "end the command after this time, with status 124")
	f.limits.register(fs)
	fs.BoolVar(&f.json, "json", false, "print one JSON object; the command's output goes to the files that it names")
	fs.BoolVar(&f.capture, "capture", false, "also record what the command prints, as SUBSTRATE_CAPTURE=1 does")
	fs.BoolVar(&f.noReport, "no-report", false, "print neither report nor verdict")
	fs.BoolVar(&f.requireWorld, "require-world", false, "refuse to run without an isolated view of the files")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "say each step as it happens")
	fs.StringArrayVar(&f.env, "env", nil, "pass a variable on: NAME or NAME=VALUE (repeatable)")
	fs.IntVar(&f.maxLines, "max-lines", 1000, "changes listed in the report; 0 for all")
}

// check refuses values that no run could use.
func (f *runFlags) check() error {
	switch {
	case f.timeout < 0:
		return usagef("--timeout %s is negative", f.timeout)
	case f.json && f.noReport:
		return usagef("--json and --no-report exclude each other")
	}
	return f.limits.check()
}

// settings is what the flags and the configuration say about a run.
func (f *runFlags) settings(cfg config.Config, isolate bool) rerun.Settings {
	s := rerun.Settings{
		World: isolate, Require: f.requireWorld || cfg.RequireWorld, Strategy: f.strategy, Upper: f.upper,
		CopyMax: int64(f.copyMax), Limits: f.limits.of(), Timeout: f.timeout, Capture: f.capture,
	}
	if s.Upper == "disk" {
		s.Upper = "" // what a world takes without being asked
	}
	return s
}

// rerun runs a plan, shows what happens meanwhile, and prints the outcome. With check a difference
// from the recorded run is a failure. The exit status is left in the app.
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

// copying shows how far the copy of a working directory is (DIF7).
func (a *app) copying(dir string) func(done, total int64) {
	p := show.NewProgress(a.stderr, "copying "+dir)
	return func(done, total int64) {
		p.At(done, total)
		if done >= total {
			p.Done()
		}
	}
}

// step prints a step of the set-up of a world at its moment (RPL8).
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

// printOutcome prints warnings and report without secrets.
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

// sayUpper prints how many entries were looked through if there is no change to show (RPL8).
func (a *app) sayUpper(res *world.Result) {
	switch c := res.Compared; {
	case res.Diff == nil || res.Diff.Counts.Total() > 0:
	case c != nil:
		_, _ = fmt.Fprintf(a.stderr, "[replay] copy-diff compared %d→%d entries\n", c.Before, c.After)
	default:
		a.verbose("upper entries", fmt.Sprint(res.UpperEntries))
	}
}

// withRemedy makes a failure of err, with the remedy that the packages below know.
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
		return &failure{err: err, hint: "put the vault.jsonl that belongs to this trace beside it, or run the command anew"}
	case errors.As(err, &missing):
		return &failure{err: err, hint: missing.Remedy}
	}
	return failed(err)
}
