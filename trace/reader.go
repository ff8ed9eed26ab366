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

// backwards calls fn for each line, newest first, until it reports that it is done.
func (r *Reader) backwards(fn func(src source, l line) (done bool)) error {
	sources, err := openAll(r.Path)
	if err != nil {
		return err
	}
	for _, src := range sources {
		lines := backward{src: src}
		for {
			l, err := lines.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return errors.Join(err, closeAll(sources))
			}
			if fn(src, l) {
				return closeAll(sources)
			}
		}
	}
	return closeAll(sources)
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
	if !l.whole {
		if src.grows() {
			return nil // a writer was in the middle of it when the file was opened
		}
		err = ErrTorn
	}
	if r.Warn != nil {
		r.Warn(Warning{File: src.Name(), Line: number, Offset: l.offset, Err: err})
	}
	return nil
}
