package rerun

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"substrate/internal/capture"
	"substrate/internal/config"
	"substrate/internal/record"
	"substrate/internal/replay"
	"substrate/trace"
)

// output is where a command prints.
type output struct {
	stdout, stderr *os.File
	tap            *capture.Tap // between the command and the caller's files; nil if what it prints is not recorded
	files          bool         // they are files beside the trace
}

// openOutput opens the files beside the trace, or puts a tap in front of the caller's files if
// what the command prints is recorded.
func openOutput(o *Options, id string) (output, error) {
	if o.ToFiles {
		return openFiles(o.Config, id)
	}
	if !o.captured() {
		return output{stdout: o.Stdout, stderr: o.Stderr}, nil
	}
	tap, err := capture.New(o.Stdout, o.Stderr, o.Config.CaptureMax)
	if err != nil {
		return output{}, err
	}
	out := output{tap: tap}
	out.stdout, out.stderr = tap.Files()
	return out, nil
}

// captured reports whether what the command prints is recorded: because somebody asked, or because
// it was when the span was recorded, so that there is something to compare. A terminal that
// `world run` hands on is captured only if this very command asks.
func (o *Options) captured() bool {
	was := o.Was
	return o.Capture || was != nil && was.Completion != nil && was.Capture != nil || o.Config.Capture && !o.TTY
}

// openFiles makes the two files beside the trace.
func openFiles(cfg config.Config, id string) (output, error) {
	dir := outputDir(cfg)
	if dir == "" {
		return output{}, &replay.Error{
			Err:  errors.New("there is no directory for the command's output"),
			Hint: "set HOME, or SHIM_TRACE_LOG to a file in a directory that you can write",
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return output{}, fmt.Errorf("make the directory of outputs: %w", err)
	}
	record.Tidy(dir)
	stdout, err := createPrivate(filepath.Join(dir, id+".stdout"))
	if err != nil {
		return output{}, err
	}
	stderr, err := createPrivate(filepath.Join(dir, id+".stderr"))
	return output{stdout: stdout, stderr: stderr, files: err == nil}, err
}

// createPrivate makes a new file that nobody else can read, whatever the umask is.
func createPrivate(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the file for the command's output: %w", err)
	}
	return f, nil
}

// outputDir is where the files with the output of commands lie; "" if there is no trace, or if it
// is not a regular file.
func outputDir(cfg config.Config) string {
	if cfg.Trace == "" {
		return ""
	}
	if st, err := os.Stat(cfg.Trace); err == nil && !st.Mode().IsRegular() {
		return ""
	}
	return filepath.Join(filepath.Dir(cfg.Trace), "replays")
}

// keep ends the recording of what the command prints, and is what the span says about it; nil if
// nothing was recorded.
func (out *output) keep(span *record.Span) (*trace.Capture, error) {
	switch {
	case out.tap != nil:
		for _, f := range []*os.File{out.stdout, out.stderr} {
			if f != nil {
				_ = f.Close() // the end of a pipe
			}
		}
		stdout, stderr, err := out.tap.Finish()
		return span.KeepOutput(stdout, stderr), err
	case out.files:
		stdout, err := span.KeepFile(out.stdout)
		stderr, errErr := span.KeepFile(out.stderr)
		return &trace.Capture{Stdout: stdout, Stderr: stderr}, errors.Join(err, errErr)
	}
	return nil, nil
}
