package shell

import (
	"os"

	"substrate/internal/capture"
	"substrate/internal/config"
	"substrate/internal/record"
	"substrate/trace"
)

// tap stands between the command and where it prints if that was asked for; nil if not, or if it cannot be done, of
// which the user is told: the command runs all the same (REC7, REC9).
func (inv Invocation) tap(cfg config.Config, rec *record.Recorder) *capture.Tap {
	if !inv.Capture && !cfg.Capture {
		return nil
	}
	tap, err := capture.New(os.Stdout, os.Stderr, cfg.CaptureMax)
	if err != nil {
		rec.Warn(err)
		return nil
	}
	return tap
}

// keep gives what the span says of what the command printed; nil if nobody asked.
func keep(rec *record.Recorder, span *record.Span, tap *capture.Tap) *trace.Capture {
	if tap == nil {
		return nil
	}
	stdout, stderr, err := tap.Finish()
	if err != nil {
		rec.Warn(err)
	}
	return span.KeepOutput(stdout, stderr)
}
