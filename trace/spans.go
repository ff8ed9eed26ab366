package trace

import (
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"substrate/internal/plain"
)

// Filter selects the spans for [Reader.Spans]. The zero value selects all.
type Filter struct {
	Session string    // beginning of a session id
	Since   time.Time // of the last line of a span
}

// sinceSlack is how far lines may be out of order: a writer takes the time before it waits for the
// lock.
const sinceSlack = time.Minute

// Spans calls fn for each span that matches the filter, the one with the newest line first, until
// fn returns false. A complete span comes without its start line, which adds nothing. A line
// without a span id counts as a span. If there is no trace the error wraps [fs.ErrNotExist].
func (r *Reader) Spans(f Filter, fn func(*Span) bool) error {
	r.skipped = make(map[at]bool)
	defer func() { r.skipped = nil }()
	seen := make(map[string]bool)
	err := r.spans(f, seen, f.Session != "", fn)
	if errors.Is(err, errStale) { // read the files instead, without repeating spans
		err = r.spans(f, seen, false, fn)
	}
	return err
}

// spans is one pass of Spans. It skips the ids in seen and adds those that it passes to fn.
func (r *Reader) spans(f Filter, seen map[string]bool, indexed bool, fn func(*Span) bool) error {
	oldest := ""
	if !f.Since.IsZero() {
		oldest = FormatTime(f.Since.Add(-sinceSlack))
	}
	since := FormatTime(f.Since)
	return r.backwards(search{match{session: f.Session}, indexed}, func(src source, l line) bool {
		record := r.decode(src, l, 0)
		switch {
		case record == nil || !strings.HasPrefix(record.SessionID, f.Session):
			return false
		case record.TS != "" && record.TS < oldest:
			return true
		case !f.Since.IsZero() && record.TS < since || record.SpanID != "" && seen[record.SpanID]:
			return false
		case record.SpanID != "":
			seen[record.SpanID] = true
		}
		span := &Span{Complete: record}
		if record.Completion == nil {
			span = &Span{Start: record}
		}
		return !fn(span)
	})
}

// Began returns when the command was started, as exactly as is known: from the start line, from an
// id that holds the time, or from the end and the duration. It is the zero time if nothing is
// known.
func (s *Span) Began() time.Time {
	if s.Start != nil {
		if t, err := time.Parse(time.RFC3339Nano, s.Start.TS); err == nil {
			return t
		}
	}
	if t, ok := timeOfID(s.ID()); ok {
		return t
	}
	if s.Complete == nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s.Complete.TS)
	if err != nil {
		return time.Time{}
	}
	return t.Add(-time.Duration(s.Complete.DurationMS) * time.Millisecond)
}

// timeOfID returns the time in an id that this package made.
func timeOfID(id string) (time.Time, bool) {
	digits, ours := strings.CutPrefix(id, plain.SpanPrefix)
	raw, err := hex.DecodeString(digits)
	if !ours || err != nil || len(raw) != 16 || raw[6]>>4 != 7 {
		return time.Time{}, false
	}
	var tick uint64 // in 1/4096 ms
	for _, b := range raw[:6] {
		tick = tick<<8 | uint64(b)
	}
	tick = tick<<12 | uint64(raw[6]&0xf)<<8 | uint64(raw[7])
	return time.UnixMilli(int64(tick >> 12)).Add(time.Duration(tick&0xfff) * time.Millisecond / 4096).UTC(), true
}
