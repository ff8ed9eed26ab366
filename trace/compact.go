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

// ErrBusy is wrapped by the error of [Compact] if a file was removed or replaced while it was read. Nothing
// is lost; it can be tried again.
var ErrBusy = errors.New("was removed or replaced in the meantime")

// ErrRotated is wrapped by the error of [Compact] for a name that rotation uses: the trace itself has to be named.
var ErrRotated = errors.New("is a rotated file of a trace")

// How long compaction tries to be alone: with a busy trace, and then, while writers of that wait, with a rotated file.
const (
	aloneWait   = 30 * time.Second
	rotatedWait = time.Second
)

// compactMark begins the last part of the name of a file that is being made.
const compactMark = ".compact-"

// CompactOptions says what [Compact] drops.
type CompactOptions struct {
	Before   time.Time             // lines that were written earlier are dropped; the zero time drops none
	DryRun   bool                  // only count
	Progress func(done, all int64) // called now and then with the bytes that have been read; may be nil
}

// Compacted is what became of one file.
type Compacted struct {
	File        string `json:"file"`
	BytesBefore int64  `json:"bytes_before"`
	BytesAfter  int64  `json:"bytes_after"`
	LinesBefore int    `json:"lines_before"`  // blank ones among them
	Started     int    `json:"dropped_start"` // start lines whose complete line is kept
	Torn        int    `json:"dropped_torn"`
	Old         int    `json:"dropped_old"`
}

// Dropped is the number of lines that were dropped.
func (c Compacted) Dropped() int { return c.Started + c.Torn + c.Old }

// Compact drops what is not needed from the trace at path and from its rotated files: start lines that have a complete
// line, torn lines, and lines that are too old. All other bytes stay as they are. Each file is written anew beside the
// old one and takes its name when it is finished; writers wait only for what was appended meanwhile to be
// copied. If the error is not nil, files that are not in the result are as they were.
// The error wraps ErrBusy, ErrLocked, ErrRotated, ErrNotRegular, [fs.ErrNotExist] or the cause that the system gave.
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

// cutNumber takes the name of a rotated file apart.
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

// compactPlan is what is known of a file after it was read.
type compactPlan struct {
	src    source
	size   int64 // bytes that were looked at: up to the end of the last whole line
	result Compacted
	drop   []piece // in the order of the file; those with an id only if the span has ended
}

// piece is a part of a file.
type piece struct {
	begin, end int64
	start      string // id, if it is a start line
}

// look reads a file and decides about each line, but for start lines, whose end may come in another file.
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

// progress counts bytes, and tells whether to stop.
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

// lineFacts is what compaction has to know of a line.
type lineFacts struct {
	id, ts      string
	start, torn bool // torn: the beginning of an object; what never was one is kept
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

// finish decides about the start lines, now that all files have been read.
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

// rewrite writes the file anew and puts it in the place of the old one. It returns the new size.
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

// replace does the rest under the locks: that on the trace itself, which keeps names from changing, and that on this file.
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
	_ = os.Remove(name + indexSuffix) // it would not be used, and is made again if there is need
	return true, nil
}

// nameOf finds the name that a file of the trace at path has now; it may have been rotated since it was opened.
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

// removeStale removes what compactions of this file left that were killed. One that is alive holds a lock.
func removeStale(name string) {
	left, err := filepath.Glob(globQuote(name) + compactMark + "*")
	if err != nil {
		return
	}
	for _, path := range left {
		if f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0); err == nil {
			if tryLock(f) == nil {
				_ = os.Remove(path) // if not, it stays for the next time
			}
			_ = f.Close() // it was only read
		}
	}
}

// globQuote makes a name a pattern for itself.
func globQuote(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}
