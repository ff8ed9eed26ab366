package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"substrate/internal/plain"
)

// ErrNotFound is wrapped by the error of [Find] if no span matches.
var ErrNotFound = errors.New("no such span")

// ErrAmbiguous is wrapped by the error of [Find] if the prefix matches several spans. Its text
// names them.
var ErrAmbiguous = errors.New("ambiguous span id")

const maxCandidates = 8 // how many ids the text of ErrAmbiguous names

var spanIDKey = []byte(`"span_id"`)

// Span is what the trace contains about one command.
type Span struct {
	Start    *Record // nil if compaction dropped it
	Complete *Record // nil if the command still runs, or substrate was killed
}

// Last returns the complete line or, if there is none, the start line.
func (s *Span) Last() *Record {
	if s.Complete != nil {
		return s.Complete
	}
	return s.Start
}

// ID returns the span id.
func (s *Span) ID() string { return s.Last().SpanID }

// Incomplete reports whether the end of the command is not recorded.
func (s *Span) Incomplete() bool { return s.Complete == nil }

// Find finds a span in the trace at path; see [Reader.Find].
func Find(path, ref string) (*Span, error) {
	return (&Reader{Path: path}).Find(ref)
}

// Find finds a span. A ref is a span id, a unique prefix of one (with or without spn_), "last", or
// "last~N" for the Nth before the last. The last span is the one whose line was written last,
// complete or not. Spans of shims do not count, nor do those in Reader.Inside, which the caller
// runs in. The error wraps ErrAmbiguous, or ErrNotFound, also if there is no trace.
func (r *Reader) Find(ref string) (*Span, error) {
	r.skipped = make(map[at]bool)
	defer func() { r.skipped = nil }()
	span, err := r.find(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no trace yet: %w", ErrNotFound, err)
	}
	return span, err
}

func (r *Reader) find(ref string) (*Span, error) {
	if n, ok := lastRef(ref); ok {
		id, err := r.resolveLast(n)
		if err != nil {
			return nil, err
		}
		ref = id
	}
	span, err := r.findIn(ref, true)
	switch {
	case err == nil && !span.Incomplete():
		return span, nil
	case err == nil:
		return r.findIn(span.ID(), false) // the index may not cover the end of the command
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrAmbiguous), errors.Is(err, errStale):
		return r.findIn(ref, false) // nor all matching spans
	}
	return nil, err
}

// findIn finds the span by its id or a prefix of one. A full id is never ambiguous.
func (r *Reader) findIn(ref string, indexed bool) (*Span, error) {
	if strings.HasPrefix(ref, plain.SpanPrefix) && len(ref) == len(plain.SpanPrefix)+32 { // a full id
		span, err := r.collect(ref, indexed)
		if !errors.Is(err, ErrNotFound) {
			return span, err
		}
	}
	span, err := r.resolvePrefix(ref, indexed)
	if errors.Is(err, ErrAmbiguous) {
		if exact, exactErr := r.collect(ref, indexed); !errors.Is(exactErr, ErrNotFound) {
			return exact, exactErr
		}
	}
	return span, err
}

// lastRef parses "last" and "last~N".
func lastRef(ref string) (n int, ok bool) {
	if ref == "last" {
		return 0, true
	}
	digits, ok := strings.CutPrefix(ref, "last~")
	n, err := strconv.Atoi(digits)
	return n, ok && err == nil && n >= 0
}

// collect finds the lines of the span with exactly this id. The start line was written first, so
// reading from the end of the trace can stop there.
func (r *Reader) collect(id string, indexed bool) (*Span, error) {
	var span Span
	err := r.backwards(search{matchID(id), indexed}, func(src source, l line) bool {
		if record := r.decode(src, l, 0); record != nil && record.SpanID == id {
			span.add(record)
		}
		return span.Start != nil
	})
	if err != nil {
		return nil, err
	}
	if span.Last() == nil {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return &span, nil
}

// add adds a line of the span. The caller adds the newest line first. Lines older than the start
// line do not belong to the span and are ignored.
func (s *Span) add(r *Record) {
	switch {
	case s.Start != nil:
	case r.Completion == nil:
		s.Start = r
	case s.Complete == nil:
		s.Complete = r
	}
}

// resolvePrefix finds the only span whose id begins with ref, or with spn_ and ref.
func (r *Reader) resolvePrefix(ref string, indexed bool) (*Span, error) {
	if ref == "" {
		return nil, fmt.Errorf("%w: the id is empty", ErrNotFound)
	}
	var ids []string
	var first Span // of the first id; unused if there is a second one
	err := r.backwards(search{matchPrefix(ref), indexed}, func(src source, l line) bool {
		record := r.decode(src, l, 0)
		if record == nil || !strings.HasPrefix(record.SpanID, ref) && !strings.HasPrefix(record.SpanID, plain.SpanPrefix+ref) {
			return false
		}
		if !slices.Contains(ids, record.SpanID) {
			ids = append(ids, record.SpanID)
		}
		if len(ids) == 1 {
			first.add(record)
		}
		return len(ids) > maxCandidates
	})
	switch {
	case err != nil:
		return nil, err
	case len(ids) == 0:
		return nil, fmt.Errorf("%w: %s", ErrNotFound, ref)
	case len(ids) == 1:
		return &first, nil
	}
	more := ""
	if len(ids) > maxCandidates {
		ids, more = ids[:maxCandidates], " and more"
	}
	return nil, fmt.Errorf("%w: %s matches %s%s", ErrAmbiguous, ref, strings.Join(ids, ", "), more)
}

// resolveLast returns the id of the nth span before the last.
func (r *Reader) resolveLast(n int) (id string, err error) {
	seen := make(map[string]bool)
	around := map[string]bool{r.Inside: true} // the spans that the caller runs in; "" matches none
	err = r.backwards(search{}, func(src source, l line) bool {
		record := r.decode(src, l, 0)
		switch {
		case record == nil || record.SpanID == "":
		case around[record.SpanID]:
			// The parent of a running command is running too, and its line is older.
			around[record.ParentSpan] = true
		case record.Component == ComponentShim || seen[record.SpanID]:
		case len(seen) == n:
			id = record.SpanID
			return true
		default:
			seen[record.SpanID] = true
		}
		return false
	})
	if err == nil && id == "" {
		err = fmt.Errorf("%w: the trace holds %d spans that are not a shim's", ErrNotFound, len(seen))
	}
	return id, err
}

// hasSpanID reports whether line has a span_id that begins with prefix. It is fast, but not exact:
// an object within the line gives a false positive, and an id with escapes a false negative. A
// string that contains "span_id" does not confuse it, because there the quotes are escaped.
func hasSpanID(line, prefix []byte) bool {
	if !bytes.Contains(line, prefix) {
		return false // nearly all lines, and faster than checking each key
	}
	for {
		_, rest, found := bytes.Cut(line, spanIDKey)
		if !found {
			return false
		}
		value := bytes.TrimLeft(rest, " \t")
		value, colon := bytes.CutPrefix(value, []byte(":"))
		value, quote := bytes.CutPrefix(bytes.TrimLeft(value, " \t"), []byte(`"`))
		if colon && quote && bytes.HasPrefix(value, prefix) {
			return true
		}
		line = rest
	}
}
