package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	firstBlock = 32 << 10  // bytes to read first from the end: they often hold the last span
	blockSize  = 256 << 10 // bytes to read at once
	maxLine    = 1 << 30   // longest line that a reader loads
)

// errLongLine is the error for a file that cannot be a trace.
var errLongLine = errors.New("line longer than 1 GiB")

// line is one line of a file, without its newline. The text is valid until the next call.
type line struct {
	text   []byte
	offset int64 // of its first byte in the file
	whole  bool  // ended by a newline
}

// forward reads the lines of a file from the first to the last.
type forward struct {
	src    source
	offset int64  // in the file, of the first byte of rest
	rest   []byte // read and not yet returned
	buf    []byte
}

// next returns the next line, and io.EOF after the last.
func (f *forward) next() (line, error) {
	searched := 0
	for {
		if i := bytes.IndexByte(f.rest[searched:], '\n'); i >= 0 {
			l := line{text: f.rest[:searched+i], offset: f.offset, whole: true}
			f.rest = f.rest[searched+i+1:]
			f.offset += int64(searched + i + 1)
			return l, nil
		}
		searched = len(f.rest)
		if f.offset+int64(searched) >= f.src.size {
			return f.last()
		}
		if err := f.fill(); err != nil {
			return line{}, err
		}
	}
}

// last returns what follows the last newline.
func (f *forward) last() (line, error) {
	if len(f.rest) == 0 {
		return line{}, io.EOF
	}
	l := line{text: f.rest, offset: f.offset}
	f.offset += int64(len(f.rest))
	f.rest = nil
	return l, nil
}

// fill reads another block after rest, into a larger buffer if rest fills half of it.
func (f *forward) fill() error {
	if len(f.rest) > maxLine {
		return fmt.Errorf("read %s at byte %d: %w", f.src.Name(), f.offset, errLongLine)
	}
	if need := max(blockSize, 2*len(f.rest)); need > len(f.buf) {
		f.buf = append(make([]byte, 0, need), f.rest...)[:need]
	} else {
		copy(f.buf, f.rest)
	}
	have := len(f.rest)
	at := f.offset + int64(have)
	n, err := f.src.ReadAt(f.buf[have:min(int64(len(f.buf)), int64(have)+f.src.size-at)], at)
	f.rest = f.buf[:have+n]
	if n == 0 && errors.Is(err, io.EOF) {
		f.src.size = at // the file was cut while we read it
		return nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read trace: %w", err)
	}
	return nil
}

// backward reads the lines of a file from the last to the first, so that a reader finds the newest
// spans of a large trace at once.
type backward struct {
	src   source
	low   int64  // where it ends: the offset of a line
	start int64  // in the file, of the first byte of rest
	rest  []byte // read and not yet returned
	open  bool   // no newline follows rest
	begun bool
}

// next returns the line before the last one that it returned, and io.EOF before the first.
func (b *backward) next() (line, error) {
	if !b.begun {
		if err := b.begin(); err != nil {
			return line{}, err
		}
	}
	searched := len(b.rest) // nothing in rest[searched:] is a newline
	for {
		if i := bytes.LastIndexByte(b.rest[:searched], '\n'); i >= 0 {
			return b.cut(i+1, i), nil
		}
		if b.start == b.low {
			if b.rest == nil {
				return line{}, io.EOF
			}
			l := b.cut(0, 0)
			b.rest = nil
			return l, nil
		}
		n, err := b.fill()
		if err != nil {
			return line{}, err
		}
		searched = n
	}
}

// begin starts at the end of the file and drops the newline of the last line.
func (b *backward) begin() error {
	b.begun = true
	b.start = b.src.size
	if b.src.size == b.low {
		return nil
	}
	if _, err := b.fill(); err != nil {
		return err
	}
	if n := len(b.rest); n > 0 && b.rest[n-1] == '\n' {
		b.rest = b.rest[:n-1]
	} else {
		b.open = true
	}
	return nil
}

// cut returns the line that begins at rest[from] and keeps what is before rest[keep].
func (b *backward) cut(from, keep int) line {
	l := line{text: b.rest[from:], offset: b.start + int64(from), whole: !b.open}
	b.rest, b.open = b.rest[:keep:keep], false
	return l
}

// fill reads the block before rest and returns its length. The block grows with rest.
func (b *backward) fill() (int, error) {
	if len(b.rest) > maxLine {
		return 0, fmt.Errorf("read %s before byte %d: %w", b.src.Name(), b.start, errLongLine)
	}
	n := min(int64(max(blockSize, 2*len(b.rest))), b.start-b.low)
	if b.rest == nil {
		n = min(firstBlock, b.start-b.low)
	}
	block := make([]byte, n, n+int64(len(b.rest)))
	got, err := b.src.ReadAt(block, b.start-n)
	if got < len(block) {
		if errors.Is(err, io.EOF) { // cut while we read it; a bare EOF would look like the first line
			err = io.ErrUnexpectedEOF
		}
		return 0, fmt.Errorf("read trace: %w", err)
	}
	b.start -= n
	b.rest = append(block, b.rest...)
	return int(n), nil
}
