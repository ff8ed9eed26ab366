package shell

import (
	"os"

	"substrate/internal/capture"
	"substrate/internal/config"
	"substrate/internal/record"
	"substrate/trace"
)

// tap records what the command prints, if the user asked for that. If it cannot, there is a
// warning, the result is nil, and the command runs all the same (REC7, REC9).
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

// keep returns what the span says about the output of the command; nil without a tap.
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
