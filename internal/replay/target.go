package replay

import (
	"errors"
	"fmt"

	"substrate/trace"
)

// maxHops ends a cycle of replays, which a trace written by hand can hold.
const maxHops = 16

// Target finds the span that a replay of ref runs. For the span of a replay that is the span which
// it replayed (RPL11).
//
// The error is an [*Error] if there is no such span; it wraps [trace.ErrNotFound] or
// [trace.ErrAmbiguous].
func Target(r *trace.Reader, ref string) (trace.Record, error) {
	for range maxHops {
		span, err := r.Find(ref)
		if err != nil {
			return trace.Record{}, LookupError(err)
		}
		rec := whole(span)
		if rec.ReplayOf == "" {
			return rec, nil
		}
		ref = rec.ReplayOf
	}
	return trace.Record{}, &Error{Err: fmt.Errorf("span %s replays itself", ref)}
}

// whole joins the two lines of a span. Other programs may not repeat everything in the complete
// line.
func whole(span *trace.Span) trace.Record {
	rec := *span.Last()
	if span.Start == nil || span.Complete == nil || rec.Cmd != "" {
		return rec
	}
	rec, done := *span.Start, span.Complete
	rec.TS, rec.Completion = done.TS, done.Completion
	if rec.ReplayOf == "" {
		rec.ReplayOf = done.ReplayOf
	}
	return rec
}

// LookupError adds a remedy to the errors of a look-up.
func LookupError(err error) error {
	switch {
	case errors.Is(err, trace.ErrAmbiguous):
		return &Error{Err: err, Hint: "give more digits of the id"}
	case errors.Is(err, trace.ErrNotFound):
		return &Error{Err: err, Hint: "`last` is the last recorded command; SHIM_TRACE_LOG names the trace if it is not ~/.substrate/trace.jsonl"}
	}
	return err
}
