package trace

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
)

// The index of a file lies beside it and holds where the lines of spans are, so that a reader need
// not read a gigabyte to find one.
//
// Readers make and extend the index. Writers ignore it, and it may be removed at any time. A reader
// uses it only if it belongs to this file, its checksums and lengths are right, and each line that
// it leads to is the one that it names; otherwise it reads the file. It also reads the part of the
// file that the index does not cover. The index begins with a header that identifies the file.
// Segments follow, each for the lines after those of the segment before:
//
//	header:  magic, inode, number of first bytes, SHA-256 of those
//	segment: offset of the first line, offset behind the last, number of lines, CRC-32C of these
//	         three and the entries, one entry for each line
//
// All numbers are little-endian.
const (
	indexSuffix  = ".idx"
	indexMagic   = "SUBIDX1\n"
	headerSize   = 8 + 8 + 8 + sha256.Size
	segmentSize  = 8 + 8 + 4 + 4
	segmentLines = 1 << 15
	headBytes    = 4096

	indexFrom   = 4 << 20 // bytes of a file that is worth an index
	indexExtend = 1 << 20 // bytes without entries that are worth an extension
)

// errStale is the error for an index that does not fit its file.
var errStale = errors.New("index does not fit the trace")

// castagnoli is made when needed, because making it at init would slow every start of the program.
var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// hit is one line that an index leads to.
type hit struct {
	offset int64
	entry  entry
}

// lookup is the result of searching an index.
type lookup struct {
	hits    []hit // in the order of the file
	covered int64 // bytes of the trace that it covers
	end     int64 // valid bytes of the index
}

// consult searches the index of a file, after it has extended it if that is worthwhile. Without an
// index nothing is covered.
func (r *Reader) consult(src source, m match) lookup {
	if src.size < r.indexFrom() {
		return lookup{}
	}
	found := readIndex(src, m)
	if src.size-found.covered >= r.indexExtend() && extendIndex(src) == nil {
		found = readIndex(src, m)
	}
	return found
}

func (r *Reader) indexFrom() int64   { return cmp.Or(r.indexMin, indexFrom) }
func (r *Reader) indexExtend() int64 { return min(r.indexFrom(), indexExtend) }

// readIndex reads the valid part of the index of src.
func readIndex(src source, m match) lookup {
	f, err := openIndex(src, os.O_RDONLY)
	if err != nil {
		return lookup{}
	}
	defer f.Close() //nolint:errcheck // it was only read
	found, err := scanIndex(f, src, m)
	if err != nil {
		return lookup{}
	}
	return found
}

// scanIndex reads the header and the segments up to the first invalid one. The error is errStale if
// the header is that of another file or the last line is not in the file.
func scanIndex(f io.Reader, src source, m match) (found lookup, err error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(f, header[:]); err != nil {
		return lookup{}, errStale
	}
	if err := checkHeader(header[:], src); err != nil {
		return lookup{}, err
	}
	found.end = headerSize
	var segment []byte
	var last hit
	for {
		var lines int
		if segment, lines, err = readSegment(f, segment, found.covered); err != nil {
			break
		}
		for i := range lines {
			e := entry(segment[segmentSize+i*entrySize:][:entrySize])
			last = hit{found.covered, e}
			if m.entry(e) {
				found.hits = append(found.hits, hit{found.covered, bytes.Clone(e)})
			}
			found.covered += e.length()
		}
		last.entry = bytes.Clone(last.entry)
		found.end += int64(segmentSize + lines*entrySize)
	}
	if found.covered > 0 {
		if _, err := last.read(src); err != nil {
			return lookup{}, err
		}
	}
	return found, nil
}

// readSegment reads a segment that must begin at this offset of the trace. It reuses buf.
func readSegment(f io.Reader, buf []byte, at int64) (segment []byte, lines int, err error) {
	segment = grow(buf, segmentSize)
	if _, err := io.ReadFull(f, segment); err != nil {
		return segment, 0, err
	}
	begin, end := binary.LittleEndian.Uint64(segment), binary.LittleEndian.Uint64(segment[8:])
	lines = int(binary.LittleEndian.Uint32(segment[16:]))
	if begin != uint64(at) || end <= begin || lines < 1 || lines > segmentLines {
		return segment, 0, errStale
	}
	segment = grow(segment, segmentSize+lines*entrySize)
	if _, err := io.ReadFull(f, segment[segmentSize:]); err != nil {
		return segment, 0, err
	}
	sum := uint64(0)
	for i := range lines {
		sum += uint64(entry(segment[segmentSize+i*entrySize:]).length())
	}
	if segmentSum(segment) != binary.LittleEndian.Uint32(segment[20:]) || sum != end-begin {
		return segment, 0, errStale
	}
	return segment, lines, nil
}

func segmentSum(segment []byte) uint32 {
	return crc32.Update(crc32.Checksum(segment[:20], castagnoli()), castagnoli(), segment[segmentSize:])
}

// grow returns a slice of length n that begins with the content of buf.
func grow(buf []byte, n int) []byte {
	if cap(buf) >= n {
		return buf[:n]
	}
	return append(make([]byte, 0, n), buf...)[:n]
}

// read reads the line of an entry and checks that it is that line.
func (h hit) read(src source) (line, error) {
	buf := make([]byte, h.entry.length()+1)
	before := min(h.offset, 1) // the newline of the line before, if there is one
	n, err := src.ReadAt(buf[:h.entry.length()+before], h.offset-before)
	if int64(n) < h.entry.length()+before {
		return line{}, fmt.Errorf("%w: %v", errStale, err)
	}
	text := buf[before:n]
	body, whole := bytes.CutSuffix(text, []byte{'\n'})
	if !whole || bytes.IndexByte(body, '\n') >= 0 || before == 1 && buf[0] != '\n' || !bytes.Equal(appendEntry(nil, body), h.entry) {
		return line{}, errStale
	}
	return line{text: body, offset: h.offset, whole: true}, nil
}

// header returns the header of an index, which identifies its file.
func header(src source) ([]byte, error) {
	inode, err := inodeOf(src.File)
	if err != nil {
		return nil, err
	}
	head := make([]byte, min(src.size, headBytes))
	if _, err := src.ReadAt(head, 0); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(head)
	h := append(make([]byte, 0, headerSize), indexMagic...)
	h = binary.LittleEndian.AppendUint64(h, inode)
	h = binary.LittleEndian.AppendUint64(h, uint64(len(head)))
	return append(h, sum[:]...), nil
}

// checkHeader compares the header of an index with its file, which may have grown since.
func checkHeader(h []byte, src source) error {
	n := binary.LittleEndian.Uint64(h[16:])
	if n > headBytes || int64(n) > src.size {
		return errStale
	}
	src.size = int64(n)
	want, err := header(src)
	if err == nil && !bytes.Equal(h, want) {
		err = errStale
	}
	return err
}

// extendIndex extends the index of src to its size. Only one process does so at a time; for others
// it fails.
func extendIndex(src source) error {
	f, err := openIndex(src, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	err = tryLock(f)
	if err == nil {
		err = appendSegments(f, src)
	}
	return errors.Join(err, f.Close()) // this also unlocks it
}

// appendSegments keeps the valid part of an index and appends the rest.
func appendSegments(f *os.File, src source) error {
	found, err := scanIndex(f, src, match{ids: []idPrefix{}})
	if err != nil {
		h, err := header(src)
		if err != nil {
			return err
		}
		found = lookup{end: headerSize}
		if err := f.Truncate(0); err != nil {
			return err
		}
		if _, err := f.WriteAt(h, 0); err != nil {
			return err
		}
	}
	if err := f.Truncate(found.end); err != nil { // a torn segment
		return err
	}
	w := segmentWriter{file: f, at: found.end, begin: found.covered, end: found.covered}
	lines := forward{src: src, offset: found.covered}
	for {
		l, err := lines.next()
		if errors.Is(err, io.EOF) || err == nil && !l.whole {
			return w.flush()
		}
		if err == nil {
			err = w.add(l)
		}
		if err != nil {
			return err
		}
	}
}

// segmentWriter collects entries and writes them as segments.
type segmentWriter struct {
	file       *os.File
	at         int64 // where the next segment goes
	begin, end int64 // of its lines, in the trace
	lines      uint32
	entries    []byte // after room for the head
}

func (w *segmentWriter) add(l line) error {
	if w.entries == nil {
		w.entries = make([]byte, segmentSize, segmentSize+segmentLines*entrySize)
	}
	w.entries = appendEntry(w.entries, l.text)
	w.end += int64(len(l.text)) + 1
	if w.lines++; w.lines == segmentLines {
		return w.flush()
	}
	return nil
}

func (w *segmentWriter) flush() error {
	if w.lines == 0 {
		return nil
	}
	binary.LittleEndian.PutUint64(w.entries, uint64(w.begin))
	binary.LittleEndian.PutUint64(w.entries[8:], uint64(w.end))
	binary.LittleEndian.PutUint32(w.entries[16:], w.lines)
	binary.LittleEndian.PutUint32(w.entries[20:], segmentSum(w.entries))
	n, err := w.file.WriteAt(w.entries, w.at)
	w.at += int64(n)
	w.begin, w.lines, w.entries = w.end, 0, w.entries[:segmentSize]
	return err
}
