package trace

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// ErrTorn is wrapped by the warning for a last line without its end: after a crash, on a full disk,
// or while a writer writes it.
var ErrTorn = errors.New("torn last line")

// Warning describes a line that a reader skipped.
type Warning struct {
	File   string // the trace, or the rotated file
	Line   int    // counted from 1; 0 if unknown because the file was read from its end
	Offset int64  // of the first byte of the line in the file
	Err    error  // wraps ErrTorn or ErrForeign
}

// String returns the warning as one line of text.
func (w Warning) String() string {
	if w.Line == 0 {
		return fmt.Sprintf("%s: at byte %d: %v", w.File, w.Offset, w.Err)
	}
	return fmt.Sprintf("%s:%d: %v", w.File, w.Line, w.Err)
}

// Reader reads a trace and its rotated files. It takes no lock, so writers need not wait.
type Reader struct {
	Path   string        // of the trace itself
	Warn   func(Warning) // called for each line that is skipped; may be nil
	Inside string        // id of the span that the caller runs in, if any; that one is never "last"

	indexMin int64       // size in bytes from which a file gets an index; 0 for indexFrom
	patience int         // how often to check a file before its last line counts as torn; 0 for growTries
	skipped  map[at]bool // lines that this search has skipped
}

// at is a place in a file.
type at struct {
	file   string
	offset int64
}

// Scan calls fn for each line of the trace at path, oldest first; see [Reader.Scan].
func Scan(path string, fn func(*Record) error) error {
	return (&Reader{Path: path}).Scan(fn)
}

// Scan calls fn for each line, oldest first, until fn returns an error, which Scan returns. It
// skips blank lines, and lines that it cannot decode with a warning. The error wraps ErrNotRegular,
// or [fs.ErrNotExist] if there is no trace.
func (r *Reader) Scan(fn func(*Record) error) error {
	sources, err := openAll(r.Path)
	if err != nil {
		return err
	}
	for _, src := range slices.Backward(sources) {
		if err := r.scanFile(src, fn); err != nil {
			return errors.Join(err, closeAll(sources))
		}
	}
	return closeAll(sources)
}

func (r *Reader) scanFile(src source, fn func(*Record) error) error {
	lines := forward{src: src}
	for n := 1; ; n++ {
		l, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if record := r.decode(src, l, n); record != nil {
			if err := fn(record); err != nil {
				return err
			}
		}
	}
}

// search is what to search for, and how.
type search struct {
	match
	indexed bool // use the indexes; the error may then wrap errStale
}

// backwards calls fn for each line that matches s, and perhaps for others, newest first, until fn
// reports that it is done.
func (r *Reader) backwards(s search, fn func(src source, l line) (done bool)) error {
	sources, err := openAll(r.Path)
	if err != nil {
		return err
	}
	for _, src := range sources {
		done, err := r.backwardsFile(src, s, fn)
		if err != nil {
			return errors.Join(err, closeAll(sources))
		}
		if done {
			break
		}
	}
	return closeAll(sources)
}

// backwardsFile is backwards for one file: first the part that its index does not cover, then the
// lines that the index leads to.
func (r *Reader) backwardsFile(src source, s search, fn func(src source, l line) (done bool)) (done bool, err error) {
	var known lookup
	if s.indexed {
		known = r.consult(src, s.match)
	}
	src.size = max(src.size, known.covered) // another reader may have opened the file later
	lines := backward{src: src, low: known.covered}
	for {
		l, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
		if (!l.whole || s.line(l.text)) && fn(src, l) {
			return true, nil
		}
	}
	for _, h := range slices.Backward(known.hits) {
		l, err := h.read(src)
		if err != nil {
			return false, err
		}
		if fn(src, l) {
			return true, nil
		}
	}
	return false, nil
}

// decode returns nil for a line without a record. It warns unless the line is blank.
func (r *Reader) decode(src source, l line, number int) *Record {
	if len(l.text) == 0 {
		return nil
	}
	record, err := Decode(l.text)
	if err == nil {
		return record
	}
	place := at{src.Name(), l.offset}
	if r.skipped[place] {
		return nil // an earlier pass of the same search has warned
	}
	if r.skipped != nil {
		r.skipped[place] = true
	}
	if !l.whole {
		if src.grows(r.patience) {
			return nil // a writer was writing it when the file was opened
		}
		err = ErrTorn
	}
	if r.Warn != nil {
		r.Warn(Warning{File: src.Name(), Line: number, Offset: l.offset, Err: err})
	}
	return nil
}
