package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"substrate/internal/capture"
	"substrate/internal/config"
	"substrate/internal/probe"
	"substrate/internal/procstate"
	"substrate/internal/record"
	"substrate/internal/replay"
	"substrate/internal/vault"
	"substrate/internal/world"
	"substrate/trace"
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
	fs.IntVar(&f.maxLines, "max-lines", defaultMaxLines, "changes listed in the report; 0 for all")
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

// execution is one run of a plan: recorded, on the host or in a world, with a report.
type execution struct {
	a         *app
	cfg       config.Config
	flags     runFlags
	plan      replay.Plan
	component string        // of the span: replay or world
	span      *trace.Record // what is replayed, its secrets in place; nil for a new command
	shown     string        // the command of span as the trace has it
	isolate   bool
	check     bool     // a difference is a failure
	stdin     *os.File // nil for the plan's
	tty       bool

	stdout, stderr  *os.File     // of the command
	tap             *capture.Tap // between it and ours; nil if what it prints is not recorded
	files           bool         // they are files that --json names
	result          *world.Result
	setup, teardown time.Duration  // of the world; 0 on the host
	world           *world.World   // that was made; nil on the host
	signals         *world.Signals // that go to the command
	warned          []string       // messages of degradations that have been printed
}

// run does it all and leaves the exit status in the app. The order is that of RPL6: the
// command ends, then the span is complete, then the report is written.
func (e *execution) run() error {
	if err := e.openStdin(); err != nil {
		return err
	}
	// From here to the end of the command no signal may end us: the span must be completed
	// and the world removed (RPL10).
	e.signals = world.CatchSignals()
	defer e.signals.Release()
	defer e.closeWorld()
	rec := record.New(e.cfg, func(err error) { e.a.warn("%v", err) })
	span := rec.Begin(e.recorded())
	err := e.openOutput(span.ID())
	if err == nil {
		e.result, err = e.execute(span.ID())
	}
	printed, keepErr := e.keepOutput(span)
	if err != nil {
		span.End(e.refused(span, err))
		return withRemedy(errors.Join(err, keepErr, rec.Close()))
	}
	if keepErr != nil {
		e.a.warn("%v", keepErr)
	}
	report := replay.NewReport(span.ID(), e.plan, e.result)
	report.Capture = printed
	done := e.completion(report)
	if e.span != nil {
		done.ReplayContext.Verdict = replay.Compare(*e.span, e.previous(), &done, e.plan.Env)
		report.Verdict = done.ReplayContext.Verdict
	}
	done = span.End(done)
	if err := rec.Close(); err != nil {
		e.a.warn("close the trace: %v", err)
	}
	return e.finish(report, span, done)
}

// recorded is what the span says about the command.
func (e *execution) recorded() record.Command {
	c := record.Command{
		Component: e.component,
		Cmd:       e.plan.Cmd,
		Shell:     e.plan.Shell,
		Cwd:       e.plan.Cwd,
		Umask:     e.plan.Umask,
		Env:       e.plan.Env,
		ReplayOf:  e.plan.ReplayOf,
	}
	if e.plan.Shell == "" {
		c.Argv = e.plan.Argv
	} else {
		c.ShellArgs = e.plan.Argv[1:]
	}
	if e.span != nil {
		c.Script = e.span.Script
	}
	return c
}

// completion is what the span says after the command has ended.
func (e *execution) completion(r *replay.Report) trace.Completion {
	return trace.Completion{
		Exit: r.Exit, TermSignal: r.TermSignal, DurationMS: r.DurationMS, Usage: r.Usage.Usage,
		CPUMS: r.Usage.CPUMS, MemoryPeakBytes: r.Usage.MemoryPeakBytes, OOMKills: r.Usage.OOMKills,
		ScopesUsed: r.ScopesUsed, FSDiff: r.FSDiff, DegradedComponents: r.Degraded,
		ReplayContext: e.context(),
		WorldID:       e.result.WorldID, FSStrategy: e.result.Strategy, FSFallbackReasons: r.FSFallbackReasons,
		SetupUS: e.setup.Microseconds(), TeardownUS: e.teardown.Microseconds(),
		Capture: r.Capture,
	}
}

// refused completes the span of a command that was not run because of us.
func (e *execution) refused(span *record.Span, err error) trace.Completion {
	done := trace.Completion{
		Exit: statusOf(withRemedy(err)), DurationMS: span.Elapsed().Milliseconds(), ReplayContext: e.context(),
	}
	if e.isolate {
		done.DegradedComponents = []string{"world"}
	}
	return done
}

// context says how a replay was started; nil for a new command.
func (e *execution) context() *trace.ReplayContext {
	if e.span == nil {
		return nil
	}
	return &trace.ReplayContext{Mode: e.plan.Mode, World: e.isolate, Argv: e.plan.Argv, StdinPath: e.plan.Stdin}
}

// openStdin opens what the plan names as standard input, before anything is recorded.
func (e *execution) openStdin() error {
	if e.plan.Stdin == "" {
		return nil
	}
	f, err := os.Open(e.plan.Stdin)
	if err != nil {
		return failed(fmt.Errorf("open the standard input: %w", err))
	}
	e.stdin = f
	return nil
}

// execute runs the command where it belongs.
func (e *execution) execute(id string) (*world.Result, error) {
	cmd := e.plan.Command()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.stdin, e.stdout, e.stderr
	cmd.TTY, cmd.Timeout = e.tty, e.flags.timeout
	if !e.isolate {
		return world.RunHost(cmd, e.signals)
	}
	return e.inWorld(id, cmd)
}

// inWorld makes a world, runs the command in it and removes what there is of it on the host.
func (e *execution) inWorld(id string, cmd world.Command) (*world.Result, error) {
	began := time.Now()
	w, err := world.New(world.Spec{
		Name:     e.worldName(id),
		Dirs:     worldDirs(e.cfg),
		Strategy: or(e.flags.strategy, e.cfg.Strategy),
		Require:  e.flags.requireWorld || e.cfg.RequireWorld,
		Upper:    upperOf(e.flags.upper),
		Hide:     hidden(e.cfg),
		Cwd:      e.plan.Cwd,
		Likely:   likely(e.plan.Env),
		Temp:     tempOf(e.plan.Env),
		DiffMax:  e.cfg.DiffMax,
		Limits:   e.flags.limits.of(),
		Slots:    world.Slots{Max: e.cfg.WorldMax, Waiting: e.a.waiting},
		Signals:  e.signals,
		Bus:      e.cfg.Bus,
		Root:     e.cfg.Root,
		Observe:  e.observer(),
		Warn:     e.warnNow,
		CopyMax:  int64(e.flags.copyMax),
		Copying:  e.copying(),
	})
	if err != nil {
		return nil, err
	}
	cmd.Env = append(cmd.Env, "SUBSTRATE_IN_WORLD=1")
	res, err := w.Run(cmd)
	err = errors.Join(err, w.Dismantle())
	e.world = w
	if res != nil && e.cfg.Log != "" {
		logResult(res)
	}
	if res != nil && !res.Started.IsZero() {
		e.setup = res.Started.Sub(began)
		e.teardown = time.Since(res.Started) - res.Duration
	}
	return res, err
}

// closeWorld waits for what the kernel still does for the world, at the very end, because nothing depends on it.
func (e *execution) closeWorld() {
	if e.world == nil {
		return
	}
	if err := e.world.Close(); err != nil {
		e.a.warn("%v", err)
	}
}

// copying shows how far the copy of a working directory is (DIF7).
func (e *execution) copying() func(done, total int64) {
	p := e.a.newProgress("copying " + e.plan.Cwd)
	return func(done, total int64) {
		p.at(done, total)
		if done >= total {
			p.done()
		}
	}
}

// worldName is the name of the world: that of the span that it replays, or of its own span (WLD6).
func (e *execution) worldName(id string) string {
	if e.plan.ReplayOf != "" {
		id = e.plan.ReplayOf
	}
	return world.NameOf(id)
}

// notifyForwarded asks for the signals that the command must get. What the caller of
// this program ignores stays ignored.
func notifyForwarded(sigs chan<- os.Signal) {
	for _, s := range world.Forwarded {
		if !signal.Ignored(s) && !procstate.IsIgnored(s.(syscall.Signal)) {
			signal.Notify(sigs, s)
		}
	}
}

// worldDirs says where worlds keep their state.
func worldDirs(cfg config.Config) world.Dirs {
	return world.Dirs{Run: cfg.RunRoots, Overlay: cfg.OverlayRoots}
}

// likely lists the directories besides the working directory that programs write to.
func likely(env []string) []string {
	var dirs []string
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		switch name {
		case "HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME":
			if filepath.IsAbs(value) {
				dirs = append(dirs, value)
			}
		}
	}
	return dirs
}

// tempOf is where programs with that environment make temporary files; "" if it does not say.
func tempOf(env []string) string {
	for _, v := range env {
		if dir, ok := strings.CutPrefix(v, "TMPDIR="); ok && filepath.IsAbs(dir) {
			return dir
		}
	}
	return ""
}

// hidden lists substrate's own store, which no world can see.
func hidden(cfg config.Config) []string {
	var paths []string
	store := []string{cfg.Dir}
	if cfg.Trace != "" {
		store = append(store, cfg.Trace, vault.Path(cfg.Trace), record.CaptureDir(cfg.Trace), outputDir(cfg))
		if !below(cfg.Dir, cfg.Trace) {
			store = append(store, trace.Beside(cfg.Trace)...)
		}
	}
	for _, p := range store {
		if p != "" && (cfg.Dir == p || !below(cfg.Dir, p)) {
			paths = append(paths, p)
		}
	}
	return paths
}

// below says whether path lies below dir.
func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return dir != "" && err == nil && filepath.IsLocal(rel)
}

// upperOf reads --upper: disk is what a world takes without being asked.
func upperOf(flag string) string {
	if flag == "disk" {
		return ""
	}
	return flag
}

// or is the first string that is not empty.
func or(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// observer prints each step of the set-up at its moment (RPL8); nil if nobody asked.
func (e *execution) observer() func(world.Step) {
	switch {
	case !e.flags.verbose && e.cfg.Log == "":
		return nil
	case !e.flags.verbose:
		return logStep
	}
	return func(s world.Step) {
		logStep(s)
		name := s.Name
		if name == "strategy" {
			name = "world strategy"
		}
		e.say(name, s.Detail)
	}
}

// say prints one verbose line.
func (e *execution) say(name, value string) {
	_, _ = io.WriteString(e.a.stderr, "[replay] "+name+": "+value+"\n")
}

// finish prints warnings and report, and sets the exit status. What is printed has no secrets either.
func (e *execution) finish(report *replay.Report, span *record.Span, done trace.Completion) error {
	e.printWarnings(warnings(e.result, e.flags.verbose))
	if err := e.result.ExecErr; err != nil {
		message(e.a.stderr, "error", span.Mask(execText(e.plan.Path, err)))
	}
	e.sayUpper()
	o := outcome{report: report, result: e.result, span: e.span, maxLines: e.flags.maxLines}
	e.a.status = e.result.Exit
	switch {
	case e.flags.json:
		report.StdoutPath, report.StderrPath = e.stdout.Name(), e.stderr.Name()
		report.Hide(span, done)
		text, err := o.json()
		if err != nil {
			return failed(err)
		}
		if _, err := e.a.stdout.Write(text); err != nil {
			return failed(fmt.Errorf("print the report: %w", err))
		}
	case !e.flags.noReport:
		_, _ = io.WriteString(e.a.stderr, span.Mask(o.text()))
	}
	return e.checked(report.Verdict)
}

// warnNow prints a degradation that the user has to know of before the command is run.
func (e *execution) warnNow(d world.Degradation) { e.printWarnings([]world.Degradation{d}) }

// printWarnings prints degradations, each once (RPL9).
func (e *execution) printWarnings(list []world.Degradation) {
	for _, d := range list {
		if slices.Contains(e.warned, d.Message) {
			continue
		}
		e.warned = append(e.warned, d.Message)
		_, _ = io.WriteString(e.a.stderr, "[replay] warn: "+d.Message+"\n")
		if d.Remedy != "" {
			message(e.a.stderr, "hint", d.Remedy)
		}
	}
}

// sayUpper tells what was looked through if there is no change to show (RPL8).
func (e *execution) sayUpper() {
	d := e.result.Diff
	switch c := e.result.Compared; {
	case !e.flags.verbose || d == nil || d.Counts.Total() > 0:
	case c != nil:
		_, _ = fmt.Fprintf(e.a.stderr, "[replay] copy-diff compared %d→%d entries\n", c.Before, c.After)
	default:
		e.say("upper entries", fmt.Sprint(e.result.UpperEntries))
	}
}

// execText says why a program could not be started, as shells do.
func execText(program string, err error) string {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return program + ": command not found"
	case errors.Is(err, syscall.ENOENT):
		return program + ": no such file or directory"
	case errors.Is(err, syscall.EACCES), errors.Is(err, os.ErrPermission):
		return program + ": permission denied"
	}
	return program + ": " + err.Error()
}

// withRemedy makes a failure of err, with the remedy that the packages below know.
func withRemedy(err error) error {
	var refused *replay.Error
	var missing *probe.Error
	var lost *vault.MissingError
	var stopped *world.Interrupted
	switch {
	case errors.As(err, &stopped):
		return &failure{err: err, status: 128 + int(stopped.Signal.(syscall.Signal))}
	case errors.As(err, &refused):
		return &failure{err: err, hint: refused.Hint}
	case errors.As(err, &lost):
		return &failure{err: err, hint: "put the vault.jsonl that belongs to this trace beside it, or run the command anew"}
	case errors.As(err, &missing):
		return &failure{err: err, hint: missing.Remedy}
	}
	return failed(err)
}
