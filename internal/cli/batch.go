package cli

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"substrate/internal/replay"
	"substrate/internal/rerun"
	"substrate/internal/show"
	"substrate/trace"
)

// batchFlags select the spans of a replay of many (RPL12).
type batchFlags struct {
	all      bool
	since    string
	sessions []string
	jobs     int
	times    int
}

// register adds the flags to a set.
func (f *batchFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&f.all, "all", false, "replay every recorded command, each in its own world")
	fs.StringVar(&f.since, "since", "", "replay what was recorded since a `TIME`, or within a duration: 2h, 30d")
	fs.StringArrayVar(&f.sessions, "session", nil, "replay a session; the beginning of its `ID` is enough (repeatable)")
	fs.IntVar(&f.jobs, "jobs", 0, "with several spans, run `N` at once (default: one for each processor)")
	fs.IntVar(&f.times, "times", 1, "replay each span `N` times, and show which ones differ between the runs")
}

// wanted reports whether the flags ask for more than one replay.
func (f *batchFlags) wanted() bool {
	return f.all || f.since != "" || len(f.sessions) > 0 || f.times > 1
}

// checkBatch checks the flags of a replay of many.
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

// replayMany replays many spans and prints a table of verdicts.
func (a *app) replayMany(f replayFlags, args []string) error {
	if err := f.checkBatch(args); err != nil {
		return err
	}
	isolate, err := f.checkIsolation(a.cfg, true)
	if err != nil {
		return err
	}
	var filter trace.Filter
	if f.batch.since != "" {
		if filter.Since, err = parseSince(f.batch.since, time.Now()); err != nil {
			return usagef("--since: %v", err)
		}
	}
	shown := show.NewProgress(a.stderr, "replay")
	batch, stopped, err := rerun.Many(rerun.BatchOptions{
		Settings: f.settings(a.cfg, isolate), Config: a.cfg, Env: f.env, Environ: a.env, Reader: a.reader(),
		Span: strings.Join(args, ""), Filter: filter, Sessions: f.batch.sessions, Jobs: f.batch.jobs, Times: f.batch.times, Progress: shown.Count,
	})
	shown.Done()
	if err != nil {
		return withRemedy(err)
	}
	err = a.printEither(f.json, batch, show.Batch(batch.Spans, show.TableWidth(a.stdout)))
	bad := batch.Counts[replay.Different] + batch.Counts[replay.NotStable] + batch.Counts[replay.Failed]
	switch {
	case err != nil:
		return err
	case stopped != nil:
		a.status = 128 + int(stopped.(syscall.Signal))
	case f.strict && bad > 0:
		return failed(fmt.Errorf("%d of %d replays differ", bad, len(batch.Spans)))
	}
	return nil
}
