package trace

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrBusy is wrapped by the error of [Compact] if a file was removed or replaced meanwhile. Nothing
// is lost, and the caller can try again.
var ErrBusy = errors.New("was removed or replaced in the meantime")

// ErrRotated is wrapped by the error of [Compact] if the path is that of a rotated file. The caller
// has to name the trace itself.
var ErrRotated = errors.New("is a rotated file of a trace")

// How long compaction waits for the exclusive lock: on the trace, and then, while writers wait, on
// a rotated file.
const (
	aloneWait   = 30 * time.Second
	rotatedWait = time.Second
)

// compactMark begins the end of the name of a new file until it is complete.
const compactMark = ".compact-"

// CompactOptions says what [Compact] drops.
type CompactOptions struct {
	Before   time.Time             // drop lines written earlier; none for the zero time
	DryRun   bool                  // only count
	Progress func(done, all int64) // called from time to time with the bytes read; may be nil
}

// Compacted is the result for one file.
type Compacted struct {
	File        string `json:"file"`
	BytesBefore int64  `json:"bytes_before"`
	BytesAfter  int64  `json:"bytes_after"`
	LinesBefore int    `json:"lines_before"`  // including blank ones
	Started     int    `json:"dropped_start"` // start lines whose complete line is kept
	Torn        int    `json:"dropped_torn"`
	Old         int    `json:"dropped_old"`
}

// Dropped returns the number of dropped lines.
func (c Compacted) Dropped() int { return c.Started + c.Torn + c.Old }

// Compact drops lines that are not needed from the trace at path and from its rotated files: start
// lines that have a complete line, torn lines, and lines that are too old. It changes no other
// byte. It writes each file anew beside the old one and then renames it; writers wait only while it
// copies what was appended meanwhile. After an error, files that are not in the result are
// unchanged. The error wraps ErrBusy, ErrLocked, ErrRotated, ErrNotRegular, [fs.ErrNotExist] or the
// cause from the system.
func Compact(ctx context.Context, path string, opt CompactOptions) ([]Compacted, error) {
	path = realPath(path)
	if base, _, rotated := cutNumber(path); rotated {
		if _, err := os.Lstat(base); err == nil {
			return nil, fmt.Errorf("%s %w: %s", path, ErrRotated, base)
		}
	}
	sources, err := openAll(path)
	if err != nil {
		return nil, err
	}
	c := compaction{opt: opt, path: path, ended: make(map[string]bool)}
	for _, src := range sources {
		c.all += src.size
	}
	done, err := c.run(ctx, sources)
	return done, errors.Join(err, closeAll(sources))
}

// cutNumber splits the name of a rotated file.
func cutNumber(path string) (base string, n int, ok bool) {
	ext := filepath.Ext(path)
	n, err := strconv.Atoi(strings.TrimPrefix(ext, "."))
	return strings.TrimSuffix(path, ext), n, err == nil && n > 0 && ext == "."+strconv.Itoa(n)
}

// compaction is one run of Compact.
type compaction struct {
	opt       CompactOptions
	path      string
	ended     map[string]bool // spans whose complete line is kept
	read, all int64           // bytes
}

func (c *compaction) run(ctx context.Context, sources []source) (done []Compacted, err error) {
	plans := make([]compactPlan, len(sources))
	for i, src := range sources {
		if plans[i], err = c.look(ctx, src); err != nil {
			return nil, err
		}
	}
	for i := range plans {
		result := plans[i].finish(c.ended)
		if result.Dropped() > 0 && !c.opt.DryRun {
			if result.BytesAfter, err = c.rewrite(ctx, plans[i]); err != nil {
				return done, fmt.Errorf("compact %s: %w", result.File, err)
			}
		}
		done = append(done, result)
	}
	return done, nil
}

// compactPlan is what to do with a file.
type compactPlan struct {
	src    source
	size   int64 // bytes up to the end of the last whole line
	result Compacted
	drop   []piece // in the order of the file; those with an id only if the span has ended
}

// piece is a part of a file.
type piece struct {
	begin, end int64
	start      string // id of the span if it is a start line
}

// look reads a file and decides about each line except start lines, whose end may be in another
// file.
func (c *compaction) look(ctx context.Context, src source) (compactPlan, error) {
	p := compactPlan{src: src, result: Compacted{File: src.Name(), BytesBefore: src.size}}
	before := ""
	if !c.opt.Before.IsZero() {
		before = FormatTime(c.opt.Before)
	}
	lines := forward{src: src}
	for {
		l, err := lines.next()
		if errors.Is(err, io.EOF) || err == nil && !l.whole {
			return p, nil
		}
		if err == nil {
			err = c.progress(ctx, int64(len(l.text))+1)
		}
		if err != nil {
			return p, err
		}
		p.size = l.offset + int64(len(l.text)) + 1
		p.result.LinesBefore++
		what := examineLine(l.text)
		line := piece{begin: l.offset, end: p.size}
		switch {
		case what.torn:
			p.result.Torn++
		case what.ts != "" && what.ts < before:
			p.result.Old++
		case what.start && what.id != "":
			line.start = what.id
		case what.id != "":
			c.ended[what.id] = true
			continue
		default:
			continue
		}
		p.drop = append(p.drop, line)
	}
}

// progress counts bytes read. The error is that of a cancelled ctx.
func (c *compaction) progress(ctx context.Context, n int64) error {
	const step = 1 << 20
	before := c.read / step
	c.read += n
	if c.read/step == before {
		return nil
	}
	if c.opt.Progress != nil {
		c.opt.Progress(c.read, c.all)
	}
	return ctx.Err()
}

// lineFacts is what compaction needs to know about a line.
type lineFacts struct {
	id, ts      string
	start, torn bool // torn: the beginning of an object. Lines that are no objects stay
}

func examineLine(text []byte) lineFacts {
	if len(text) == 0 || text[0] != '{' {
		return lineFacts{}
	}
	if !json.Valid(text) {
		return lineFacts{torn: true}
	}
	if head, ok := cutHead(text); ok {
		return lineFacts{id: string(head.span), ts: string(head.ts), start: string(head.event) == EventStart}
	}
	r, err := Decode(text)
	if err != nil {
		return lineFacts{}
	}
	return lineFacts{id: r.SpanID, ts: r.TS, start: r.EventType == EventStart}
}

// finish decides about the start lines after all files have been read.
func (p *compactPlan) finish(ended map[string]bool) Compacted {
	p.drop = slices.DeleteFunc(p.drop, func(s piece) bool { return s.start != "" && !ended[s.start] })
	p.result.BytesAfter = p.result.BytesBefore
	for _, s := range p.drop {
		p.result.BytesAfter -= s.end - s.begin
		if s.start != "" {
			p.result.Started++
		}
	}
	return p.result
}

// rewrite writes the file anew and replaces the old one. It returns the new size.
func (c *compaction) rewrite(ctx context.Context, p compactPlan) (size int64, err error) {
	name := p.src.Name()
	removeStale(name)
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+compactMark)
	if err != nil {
		return 0, err
	}
	renamed := false
	defer func() {
		if !renamed {
			err = errors.Join(err, os.Remove(f.Name()))
		}
		err = errors.Join(err, f.Close())
	}()
	if err := errors.Join(tryLock(f), copyOwner(f, p.src.File)); err != nil {
		return 0, err
	}
	at := int64(0)
	for _, s := range append(p.drop, piece{begin: p.size, end: p.size}) {
		if err := copyPiece(ctx, f, p.src, at, s.begin); err != nil {
			return 0, err
		}
		at = s.end
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	renamed, err = c.replace(ctx, p, f)
	if err != nil {
		return 0, err
	}
	return f.Seek(0, io.SeekCurrent)
}

// replace copies the rest and renames f. It holds the lock on the trace, under which no name
// changes, and the lock on this file.
func (c *compaction) replace(ctx context.Context, p compactPlan, f *os.File) (renamed bool, err error) {
	w := &Writer{path: c.path}
	if _, err := w.acquire(true, aloneWait); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, w.close()) }() // this also unlocks
	if w.file.lockless {
		return false, errNoLocks
	}
	old, err := fileStateOf(p.src.File)
	if err != nil {
		return false, err
	}
	name, err := nameOf(old.id, c.path)
	if err != nil {
		return false, err
	}
	if old.id != w.file.id {
		if err := lockFor(p.src.File, rotatedWait); err != nil {
			return false, err
		}
		if old, err = fileStateOf(p.src.File); err != nil {
			return false, err
		}
	}
	if err := copyPiece(ctx, f, p.src, p.size, old.size); err != nil {
		return false, err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return false, err
	}
	_ = os.Remove(name + indexSuffix) // it no longer fits; readers make another
	return true, nil
}

// nameOf returns the current name of a file of the trace at path, which may have been rotated
// since.
func nameOf(id fileID, path string) (string, error) {
	numbers, err := rotated(path)
	if err != nil {
		return "", err
	}
	for _, n := range append([]int{0}, numbers...) {
		name := path
		if n > 0 {
			name = numbered(path, n)
		}
		switch state, err := statPath(name); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return "", err
		case state.id == id:
			return name, nil
		}
	}
	return "", ErrBusy
}

// copyPiece appends bytes of src to f.
func copyPiece(ctx context.Context, f *os.File, src source, from, to int64) error {
	const step = 8 << 20
	for ; from < to; from += min(step, to-from) {
		n, err := io.Copy(f, io.NewSectionReader(src, from, min(step, to-from)))
		if err == nil && n < min(step, to-from) {
			err = io.ErrUnexpectedEOF
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// removeStale removes files that killed compactions of this file left. A running compaction holds a
// lock on its file.
func removeStale(name string) {
	left, err := filepath.Glob(globQuote(name) + compactMark + "*")
	if err != nil {
		return
	}
	for _, path := range left {
		if f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0); err == nil {
			if tryLock(f) == nil {
				_ = os.Remove(path) // the next compaction tries again
			}
			_ = f.Close() // it was only read
		}
	}
}

// globQuote returns the pattern that matches only name.
func globQuote(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}
