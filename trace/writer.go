package trace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrNotRegular is wrapped by the error for a trace that is a directory, a named pipe, a device or
// a socket. A symbolic link to a file is allowed.
var ErrNotRegular = errors.New("not a regular file")

// ErrLocked is wrapped by the error for a trace that another process, which rotates or compacts it,
// kept locked for longer than a writer waits (five seconds).
var ErrLocked = errors.New("locked by another process")

const (
	lockWait     = 5 * time.Second // for the shared lock of a writer
	confirmTries = 1000            // how often a writer looks again at a torn line, at least a millisecond each
	reopenLimit  = 100             // how often a file may be replaced below a writer
	firstBufSize = 4096
)

// AppendOptions are the options for writing lines.
type AppendOptions struct {
	Fsync    bool  // SHIM_FSYNC=1: return only after the line is on the disk
	MaxBytes int64 // a file of this size is rotated before the next line; 0 or less for never
	Keep     int   // number of rotated files that are kept

	Warn    func(error)       // called if a full file cannot be rotated; the line is still written. May be nil
	Observe func(what string) // called for what else happened to the file; may be nil
}

// Writer appends lines to one trace. Several goroutines may use it, and any number of processes may
// write to the same trace.
type Writer struct {
	path string
	opt  AppendOptions

	mu    sync.Mutex
	file  *file  // nil before the first open and after Close
	fresh bool   // file has not been locked since it was opened
	end   int64  // size of the file after our last line; -1 if unknown
	buf   []byte // a newline, the line, a newline
}

// Append writes r as the last line of the trace at path; see [Open] and [Writer.Write].
func Append(path string, r *Record, opt AppendOptions) error {
	w, err := Open(path, opt)
	if err != nil {
		return err
	}
	return errors.Join(w.Write(r), w.Close())
}

// Open opens the trace at path for appending. It makes a missing file with mode 0600 and missing
// directories with mode 0700. It never waits, whatever is at path: Write checks that, under its
// lock. The error wraps ErrNotRegular or the [fs.PathError] of the call that failed.
func Open(path string, opt AppendOptions) (*Writer, error) {
	w := &Writer{path: path, opt: opt}
	if err := w.open(); err != nil {
		return nil, err
	}
	return w, nil
}

// Write appends r with a single write, so that lines of parallel writers never mix. An empty TS
// means now, and version 0 means SchemaVersion. Write does not change r.
//
// If a crash or a full disk tore the last line, the new line begins on a fresh one. If the file was
// rotated, replaced or removed since the last call, the line goes to the file that is at the path
// now. The error wraps ErrLocked, ErrNotRegular, [io.ErrShortWrite] or the cause from the system,
// such as syscall.ENOSPC. After an error the line is lost, or torn, and the next writer begins a
// fresh one.
//
// Source: write(2), O_APPEND; flock(2).
func (w *Writer) Write(r *Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.encode(r)
	if err := w.append(); err != nil {
		return err
	}
	if w.opt.Fsync {
		if err := w.file.sync(); err != nil {
			return fmt.Errorf("sync trace: %w", err)
		}
	}
	return nil
}

// Close closes the file. A later Write opens it again.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.close()
}

func (w *Writer) close() error {
	if w.file == nil {
		return nil
	}
	err := w.file.close()
	w.file = nil
	if err != nil {
		return fmt.Errorf("close trace: %w", err)
	}
	return nil
}

func (w *Writer) encode(r *Record) {
	line := *r
	if line.TraceSchemaVersion == 0 {
		line.TraceSchemaVersion = SchemaVersion
	}
	if line.TS == "" {
		line.TS = FormatTime(time.Now())
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, firstBufSize)
	}
	w.buf = append(AppendJSON(append(w.buf[:0], '\n'), &line), '\n')
}

// append locks the file, checks that its last line is whole, and writes the line. Writers share the
// lock. It excludes only processes that replace the file.
func (w *Writer) append() error {
	size, err := w.acquire(false, lockWait)
	if err == nil && w.full(size) {
		size, err = w.rotate(size)
	}
	if err != nil {
		return err
	}
	line := w.buf[1:]
	if size != w.end && w.torn(size) {
		var torn bool
		if size, torn, err = w.confirmTorn(); err != nil {
			return err
		}
		if torn {
			line = w.buf
			w.observe("the last line was torn; this one begins on a fresh line")
		}
	}
	n, err := w.file.write(line)
	if err == nil && n == len(line) && line[0] != '\n' && w.glued(size, n) {
		line, size = w.buf, -1
		n, err = w.file.write(line)
		w.observe("another writer was killed within a line just before; this one is written again")
	}
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	w.end = size + int64(n) // if another process writes, the size differs and we check again
	if err != nil || size < 0 {
		w.end = -1
	}
	if err != nil {
		err = fmt.Errorf("append to trace: wrote %d of %d bytes: %w", n, len(line), err)
	}
	return errors.Join(err, w.file.unlock())
}

// glued reports whether the n bytes that were just written follow a torn line. Another writer may
// have begun a line after we saw the file with this size, and have been killed within it.
func (w *Writer) glued(size int64, n int) bool {
	end, err := w.file.position()
	return err == nil && end-int64(n) != size && w.torn(end-int64(n))
}

// confirmTorn checks again whether the last line is torn: another writer may be writing it at this
// moment. Under the exclusive lock there is no other writer. On a busy trace that lock may not be
// available, but then the file soon ends with a whole line at some moment. If neither happens the
// line counts as torn. At worst that causes a blank line, which readers skip.
func (w *Writer) confirmTorn() (size int64, torn bool, err error) {
	for range confirmTries {
		if err := w.file.unlock(); err != nil {
			return 0, false, err
		}
		size, err = w.acquire(true, 0)
		if err == nil {
			return size, w.torn(size), nil
		}
		if !errors.Is(err, ErrLocked) {
			return 0, false, err
		}
		time.Sleep(time.Millisecond)
		if size, err = w.acquire(false, lockWait); err != nil {
			return 0, false, err
		}
		if !w.torn(size) {
			return size, false, nil
		}
	}
	return size, true, nil
}

// acquire locks the file that is at the path now, and returns its size.
func (w *Writer) acquire(exclusive bool, wait time.Duration) (size int64, err error) {
	for range reopenLimit {
		if w.file == nil {
			if err := w.open(); err != nil {
				return 0, err
			}
		}
		if err := w.file.lock(exclusive, wait); err != nil {
			return 0, fmt.Errorf("lock trace: %w", err)
		}
		size, current, err := w.examine(exclusive)
		if err != nil {
			return 0, errors.Join(fmt.Errorf("examine trace: %w", err), w.close())
		}
		if current {
			return size, nil
		}
		w.observe("the file was moved away; going to the new one")
		if err := w.close(); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("open trace: %s keeps being replaced", w.path)
}

// examine returns the size of the locked file and whether it is still at its path. Right after the
// file was opened it suffices for a line that the file was not removed: if it was rotated in this
// moment, the line goes to the rotated file, where readers find it. That saves a system call for
// each command.
func (w *Writer) examine(exclusive bool) (size int64, current bool, err error) {
	if w.fresh {
		w.fresh = false
		state, err := w.file.stat()
		if err != nil {
			return 0, false, err
		}
		if !state.regular {
			return 0, false, notRegular(w.path)
		}
		w.file.id = state.id
		if !exclusive {
			return state.size, state.linked, nil
		}
	}
	state, err := statPath(w.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	return state.size, state.id == w.file.id, err
}

// torn reports whether the file does not end with a newline.
func (w *Writer) torn(size int64) bool {
	if size == 0 {
		return false
	}
	last, err := w.file.byteAt(size - 1)
	return err == nil && last != '\n'
}

// open opens the file. It makes the file and its directory if they are missing.
func (w *Writer) open() error {
	f, err := openFile(w.path, false)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(filepath.Dir(w.path)); err != nil {
			return fmt.Errorf("make the directory of the trace: %w", err)
		}
		f, err = openFile(w.path, true)
	}
	if err != nil {
		if state, statErr := statPath(w.path); statErr == nil && !state.regular {
			err = notRegular(w.path)
		}
		return fmt.Errorf("open trace: %w", err)
	}
	w.file, w.fresh, w.end = f, true, -1
	return nil
}

// notRegular is the error for what is at the path of a trace.
func notRegular(path string) error {
	kind := "something else"
	if st, err := os.Stat(path); err == nil {
		switch mode := st.Mode(); {
		case mode.IsDir():
			kind = "a directory"
		case mode&fs.ModeNamedPipe != 0:
			kind = "a named pipe"
		case mode&fs.ModeDevice != 0:
			kind = "a device"
		case mode&fs.ModeSocket != 0:
			kind = "a socket"
		}
	}
	return fmt.Errorf("%s is %s: %w", path, kind, ErrNotRegular)
}

// makeDir makes dir and its missing parents with mode 0700, whatever the umask is.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		parent := filepath.Dir(dir)
		if parent == dir {
			return err
		}
		if err := makeDir(parent); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // if it is no directory, opening the file fails
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}
