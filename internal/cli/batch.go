package cli

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"substrate/internal/config"
	"substrate/internal/replay"
	"substrate/internal/vault"
	"substrate/trace"
)

// batchFlags say which spans `replay` runs if it is not a single one (RPL12).
type batchFlags struct {
	all      bool
	since    string
	sessions []string
	jobs     int
	times    int
}

// register adds the flags to a set.
func (f *batchFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&f.all, "all", false, "replay every recorded command, each in a world of its own")
	fs.StringVar(&f.since, "since", "", "replay what was recorded since a time, or within a duration: 2h, 30d")
	fs.StringArrayVar(&f.sessions, "session", nil, "replay a session, given by its id or the beginning of one (repeatable)")
	fs.IntVar(&f.jobs, "jobs", 0, "with several spans: how many run at once (default: one for each processor)")
	fs.IntVar(&f.times, "times", 1, "replay each span so many times, and name what is not the same each time")
}

// wanted says whether there is more than one replay to do.
func (f *batchFlags) wanted() bool {
	return f.all || f.since != "" || len(f.sessions) > 0 || f.times > 1
}

// checkBatch refuses what several replays cannot do.
func (f *replayFlags) checkBatch(args []string) error {
	b := &f.batch
	switch several := b.all || b.since != "" || len(b.sessions) > 0; {
	case several && len(args) > 0:
		return usagef("a SPAN and --all, --since or --session exclude each other")
	case !several && len(args) != 1:
		return usagef("--times needs one SPAN, or --all, --since or --session")
	case b.all && (b.since != "" || len(b.sessions) > 0):
		return usagef("--all and --since or --session exclude each other")
	case b.jobs < 0 || b.times < 1:
		return usagef("--jobs and --times need a number from 1 on")
	case f.stdin != "" || f.noReport || f.verbose:
		return usagef("--stdin, --no-report and --verbose are for a single replay")
	}
	return nil
}

// The ways in which a row of a batch can end.
const (
	rowSame        = "same"
	rowDiffers     = "differs"
	rowNotRecorded = "not recorded"
	rowUnstable    = "unstable"
	rowSkipped     = "skipped"
	rowFailed      = "failed"
)

// row is one span of a batch.
type row struct {
	replay.BatchSpan
	left int // replays to do
}

// batch is one run over many spans.
type batch struct {
	a       *app
	cfg     config.Config
	flags   replayFlags
	passed  []string // flags for each replay
	isolate bool
	rows    []*row
}

// replayMany replays many spans and prints a table of verdicts. One bad span never stops the others.
func (a *app) replayMany(f replayFlags, fs *pflag.FlagSet, args []string) error {
	if err := f.checkBatch(args); err != nil {
		return err
	}
	cfg := config.Load(a.env)
	b := &batch{a: a, cfg: cfg, flags: f, passed: passedOn(fs), isolate: !f.noWorld}
	if _, err := f.isolation(cfg); err != nil {
		return err
	}
	if b.isolate {
		b.passed = append(b.passed, "--world")
	}
	if err := b.choose(args); err != nil {
		return withRemedy(err)
	}
	sigs := make(chan os.Signal, 8)
	notifyForwarded(sigs)
	defer signal.Stop(sigs)
	stopped := b.run(sigs)
	if err := b.print(); err != nil {
		return err
	}
	if stopped != nil {
		a.status = 128 + int(stopped.(syscall.Signal))
		return nil
	}
	return b.verdict()
}

// passedOn gives the flags of one replay that were set for all.
func passedOn(fs *pflag.FlagSet) []string {
	var out []string
	fs.Visit(func(flag *pflag.Flag) {
		switch flag.Name {
		case "all", "since", "session", "jobs", "times", "json", "check", "world":
		case "env":
			list, _ := fs.GetStringArray(flag.Name)
			for _, value := range list {
				out = append(out, "--env="+value)
			}
		default:
			out = append(out, "--"+flag.Name+"="+flag.Value.String())
		}
	})
	return out
}

// choose collects the spans, oldest first, and decides which of them cannot be replayed.
func (b *batch) choose(args []string) error {
	reader := b.a.reader(b.cfg)
	if len(args) == 1 {
		span, err := replay.Target(reader, args[0])
		if err != nil {
			return err
		}
		b.rows = []*row{b.row(span)}
		return nil
	}
	filter := trace.Filter{}
	if b.flags.batch.since != "" {
		since, err := parseSince(b.flags.batch.since, time.Now())
		if err != nil {
			return usagef("--since: %v", err)
		}
		filter.Since = since
	}
	if len(b.flags.batch.sessions) == 1 {
		filter.Session = b.flags.batch.sessions[0]
	}
	err := reader.Spans(filter, func(s *trace.Span) bool {
		if b.included(s) {
			b.rows = append(b.rows, b.row(*s.Last()))
		}
		return true
	})
	slices.Reverse(b.rows)
	return replay.LookupError(err)
}

// included says whether a span is one that somebody gave: not a part of another, as those of shims are, no replay, and not
// what runs just now.
func (b *batch) included(s *trace.Span) bool {
	r := s.Last()
	if r.SpanID == "" || r.Component == trace.ComponentShim || r.Component == trace.ComponentReplay || s.Incomplete() && r.SpanID == b.cfg.ParentSpan {
		return false
	}
	sessions := b.flags.batch.sessions
	return len(sessions) == 0 || slices.ContainsFunc(sessions, func(p string) bool { return strings.HasPrefix(r.SessionID, p) })
}

// row makes the row of a span. What cannot be replayed says why at once, before anything is run.
func (b *batch) row(span trace.Record) *row {
	r := &row{replay.BatchSpan{SpanID: span.SpanID, Cmd: span.Cmd, Replays: []*replay.Report{}}, b.flags.batch.times}
	whole, err := vault.Reveal(b.cfg.Trace, span)
	if err == nil {
		_, err = replay.NewPlan(whole, replay.Options{Environ: b.a.env})
	}
	if err != nil {
		r.Status, r.Reason, r.left = rowSkipped, hideSecrets(err).Error(), 0
	}
	return r
}

// jobs is how many replays run at once. On the host each may change what the next sees, so there is one.
func (b *batch) jobs() int {
	switch {
	case !b.isolate:
		return 1
	case b.flags.batch.jobs > 0:
		return b.flags.batch.jobs
	}
	return runtime.NumCPU()
}

// verdict is the failure that --check makes of what is not as it was.
func (b *batch) verdict() error {
	bad := 0
	for _, r := range b.rows {
		if r.Status == rowDiffers || r.Status == rowUnstable || r.Status == rowFailed {
			bad++
		}
	}
	if !b.flags.strict || bad == 0 {
		return nil
	}
	return failed(fmt.Errorf("%d of %d replays differ", bad, len(b.rows)))
}
