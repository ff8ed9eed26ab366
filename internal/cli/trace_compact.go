package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"substrate/internal/show"
	"substrate/trace"
)

// compactFlags are the flags of `trace compact`.
type compactFlags struct {
	olderThan    string
	dryRun, json bool
}

// traceCompactCommand is `trace compact`.
func traceCompactCommand(a *app) *cobra.Command {
	var f compactFlags
	cmd := &cobra.Command{
		Use:   "compact [FILE]",
		Short: "drop lines of a trace that are no longer needed",
		Long: `Drop start lines that have a complete line, which repeats them, and torn lines; with --older-than, also older lines.
All other lines stay byte for byte. It works on FILE, or on the trace, and on its rotated files. Commands may be
recorded meanwhile: each file is replaced in one step.
With --json it prints an object with dry_run and files, each with its sizes and what was dropped.`,
		Example: `  substrate trace compact --dry-run
  substrate trace compact --older-than 30d`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.compact(&f, args) },
	}
	cmd.Flags().StringVar(&f.olderThan, "older-than", "", "also drop lines that are older than this: 30d, 2w, 12h")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only print what would be dropped")
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

// compact compacts a trace and prints what was saved.
func (a *app) compact(f *compactFlags, args []string) error {
	opt := trace.CompactOptions{DryRun: f.dryRun}
	if f.olderThan != "" {
		age, err := parseAge(f.olderThan)
		if err != nil {
			return usagef("--older-than: %v", err)
		}
		opt.Before = time.Now().Add(-age)
	}
	path := append(args, a.cfg.Trace)[0]
	p := show.NewProgress(a.stderr, "reading "+path)
	opt.Progress = p.At
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	done, err := trace.Compact(ctx, path, opt)
	p.Done()
	switch {
	case errors.Is(err, trace.ErrRotated):
		return &failure{err: err, status: exitUsage, hint: "name the trace itself; its rotated files are compacted with it"}
	case errors.Is(err, trace.ErrBusy), errors.Is(err, trace.ErrLocked):
		return &failure{err: err, hint: "try again"}
	case errors.Is(err, fs.ErrNotExist):
		return &failure{err: fmt.Errorf("there is no trace at %s", path)}
	case err != nil:
		return failed(err)
	}
	return a.printEither(f.json, struct {
		DryRun bool              `json:"dry_run"`
		Files  []trace.Compacted `json:"files"`
	}{f.dryRun, done}, show.Compacted(done, f.dryRun))
}
