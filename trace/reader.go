package trace

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// ErrTorn is wrapped by the warning for a last line that a crash, a full disk or a
// writer at this very moment left without its end.
var ErrTorn = errors.New("torn last line")

// Warning is about a line that a reader skipped.
type Warning struct {
	File   string // the trace, or the rotated file
	Line   int    // counted from 1; 0 if unknown, because the file was read from its end
	Offset int64  // of the first byte of the line in the file
	Err    error  // wraps ErrTorn or ErrForeign
}

// String gives the warning as one line of text.
func (w Warning) String() string {
	if w.Line == 0 {
		return fmt.Sprintf("%s: at byte %d: %v", w.File, w.Offset, w.Err)
	}
	return fmt.Sprintf("%s:%d: %v", w.File, w.Line, w.Err)
}

// Reader reads a trace and its rotated files. It takes no lock: writers go on meanwhile.
type Reader struct {
	Path   string        // of the trace itself
	Warn   func(Warning) // called for each line that is skipped; may be nil
	Inside string        // id of the span that the caller runs in, if any; it is still running and never "last"

	indexMin int64       // bytes of a file that is worth an index; 0 for indexFrom
	patience int         // how often to look at a file before its last line counts as torn; 0 for growTries
	skipped  map[at]bool // lines that this look-up has skipped
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

// Scan calls fn for each line, oldest first, until fn returns an error, which it then
// returns. Blank lines are skipped, and lines that cannot be understood with a warning.
// The error wraps [fs.ErrNotExist] if there is no trace, and ErrNotRegular.
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

// search says how lines are looked for.
type search struct {
	match
	indexed bool // ask the indexes; the error may then wrap errStale
}

// backwards calls fn for each line that fits s, and maybe for others, newest first, until it reports that it is done.
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

// backwardsFile is backwards for one file: first what its index does not cover, then what that leads to.
func (r *Reader) backwardsFile(src source, s search, fn func(src source, l line) (done bool)) (done bool, err error) {
	var known lookup
	if s.indexed {
		known = r.consult(src, s.match)
	}
	src.size = max(src.size, known.covered) // another reader may have seen the file later
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

// decode returns nil for a line that holds no record, after a warning if it should have held one.
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
		return nil // an earlier pass of the same look-up has dealt with it
	}
	if r.skipped != nil {
		r.skipped[place] = true
	}
	if !l.whole {
		if src.grows(r.patience) {
			return nil // a writer was in the middle of it when the file was opened
		}
		err = ErrTorn
	}
	if r.Warn != nil {
		r.Warn(Warning{File: src.Name(), Line: number, Offset: l.offset, Err: err})
	}
	return nil
}
