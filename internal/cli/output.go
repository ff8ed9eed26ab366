package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"substrate/internal/capture"
	"substrate/internal/config"
	"substrate/internal/procstate"
	"substrate/internal/record"
	"substrate/internal/replay"
	"substrate/internal/vault"
	"substrate/trace"
)

// openOutput decides where the command prints: with --json into files beside the trace, else where we do, with a tap in
// between if what it prints is recorded.
func (e *execution) openOutput(id string) error {
	e.stdout, e.stderr = e.a.stdout, e.a.stderr
	if e.flags.json {
		return e.openFiles(id)
	}
	if !e.captured() {
		return nil
	}
	tap, err := capture.New(unlessClosed(e.stdout, 1), unlessClosed(e.stderr, 2), e.cfg.CaptureMax)
	if err != nil {
		return err
	}
	e.tap, e.tty = tap, false
	e.stdout, e.stderr = tap.Files()
	return nil
}

// captured says whether what the command prints is recorded: because somebody asked, or because it was when the span was
// recorded, so that there is something to compare. On a terminal that world run hands on, only if this very
// command asks.
func (e *execution) captured() bool {
	if e.flags.capture {
		return true
	}
	if e.span != nil && e.span.Completion != nil && e.span.Capture != nil {
		return true
	}
	return e.cfg.Capture && !e.tty
}

// unlessClosed is f, or nil if the caller had closed its descriptor.
func unlessClosed(f *os.File, fd int) *os.File {
	if procstate.Closed(fd) {
		return nil
	}
	return f
}

// openFiles makes the files of --json.
func (e *execution) openFiles(id string) error {
	dir := outputDir(e.cfg)
	if dir == "" {
		return &failure{
			err:  errors.New("there is no place for the command's output"),
			hint: "set HOME, or SHIM_TRACE_LOG to a file in a directory that you can write",
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of outputs: %w", err)
	}
	record.Tidy(dir)
	var err error
	if e.stdout, err = createPrivate(filepath.Join(dir, id+".stdout")); err != nil {
		return err
	}
	e.stderr, err = createPrivate(filepath.Join(dir, id+".stderr"))
	e.files = err == nil
	return err
}

// createPrivate makes a new file that nobody else can read, whatever the umask is.
func createPrivate(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the file for the command's output: %w", err)
	}
	return f, nil
}

// outputDir is where --json keeps what commands print; "" without a place for a trace, or if that is no file.
func outputDir(cfg config.Config) string {
	if cfg.Trace == "" {
		return ""
	}
	if st, err := os.Stat(cfg.Trace); err == nil && !st.Mode().IsRegular() {
		return ""
	}
	return filepath.Join(filepath.Dir(cfg.Trace), "replays")
}

// keepOutput takes note of what the command has printed; nil if nobody asked.
func (e *execution) keepOutput(span *record.Span) (*trace.Capture, error) {
	switch {
	case e.tap != nil:
		for _, f := range []*os.File{e.stdout, e.stderr} {
			if f != nil {
				_ = f.Close() // the end of a pipe
			}
		}
		stdout, stderr, err := e.tap.Finish()
		return span.KeepOutput(stdout, stderr), err
	case e.files:
		stdout, err := span.KeepFile(e.stdout)
		stderr, errErr := span.KeepFile(e.stderr)
		return &trace.Capture{Stdout: stdout, Stderr: stderr}, errors.Join(err, errErr)
	}
	return nil, nil
}

// previous is the replay of the same span before this one, its secrets in place; nil if there is none, or none that can
// be understood.
func (e *execution) previous() *trace.Record {
	last, err := e.a.reader(e.cfg).LastReplay(e.span.SpanID)
	if err != nil || last == nil {
		return nil
	}
	whole, err := vault.Reveal(e.cfg.Trace, *last)
	if err != nil {
		return nil
	}
	return &whole
}

// checked is the failure that --check makes of a difference.
func (e *execution) checked(v *trace.Verdict) error {
	if !e.check || v == nil || !replay.Differs(v) {
		return nil
	}
	return failed(errors.New("the replay differs from the recorded run"))
}
