package trace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// rotateWait is how long a writer waits for the exclusive lock on a full file. If it does not get
// the lock, its line goes to the full file, and the next writer tries again.
const rotateWait = 200 * time.Millisecond

// errNoLocks is why some traces are never rotated.
var errNoLocks = errors.New("its file system does not support locks")

// Rotation
//
// A file of MaxBytes or more is full: the next writer renames it to NAME.1 and begins a new one
// before it writes its line. So a file exceeds its limit by less than one line of each writer.
//
// Names change only under the exclusive lock on the file that is at the path of the trace. Writers
// hold the shared lock while they write, so nobody moves a file in the middle of a line. When they
// get the lock they check whether the file is still the right one.

// full reports whether a file of that size has to be rotated before the next line.
func (w *Writer) full(size int64) bool { return w.opt.MaxBytes > 0 && size >= w.opt.MaxBytes }

// rotate is called with the shared lock on a full file. It returns with a lock on the file for the
// line, and its size. That may be the full file; rotate has then called Warn unless other writers
// were writing.
func (w *Writer) rotate(size int64) (int64, error) {
	if w.file.lockless {
		w.notice(errNoLocks)
		return size, nil
	}
	if err := w.file.unlock(); err != nil {
		return 0, err
	}
	size, err := w.acquire(true, rotateWait)
	switch {
	case errors.Is(err, ErrLocked): // others are writing; they find it full as well
		return w.acquire(false, lockWait)
	case err != nil:
		return 0, err
	case !w.full(size): // somebody else was faster
		return size, nil
	}
	real := realPath(w.path)
	if err := shift(real, w.opt.Keep); err != nil {
		w.notice(err)
		return size, nil
	}
	w.observe("rotated " + real)
	if err := w.close(); err != nil { // this also unlocks it
		return 0, err
	}
	return w.acquire(false, lockWait)
}

// notice calls Warn with the reason why a trace keeps growing.
func (w *Writer) notice(err error) {
	if w.opt.Warn != nil {
		w.opt.Warn(fmt.Errorf("rotate the trace: %w", err))
	}
}

func (w *Writer) observe(what string) {
	if w.opt.Observe != nil {
		w.opt.Observe(what)
	}
}

// shift moves the file at path to path.1, path.1 to path.2 and so on up to the first free number,
// and removes files with numbers above keep. If it is interrupted a number is free, no line is
// lost, and the next call begins there. The caller holds the exclusive lock.
func shift(path string, keep int) error {
	numbers, err := rotated(path)
	if err != nil {
		return err
	}
	free := 1
	for _, n := range numbers {
		if n == free && n < keep {
			free++
		}
	}
	for _, n := range numbers {
		if n > keep || n == free {
			if err := removeFile(numbered(path, n)); err != nil {
				return err
			}
		}
	}
	if keep <= 0 {
		return removeFile(path)
	}
	for n := free; n > 1; n-- {
		if err := renameFile(numbered(path, n-1), numbered(path, n)); err != nil {
			return err
		}
	}
	return renameFile(path, numbered(path, 1))
}

// numbered returns the name of the nth rotated file.
func numbered(path string, n int) string { return path + "." + strconv.Itoa(n) }

// renameFile renames a file of a trace and its index. A wrong index does no harm.
func renameFile(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := os.Rename(from+indexSuffix, to+indexSuffix); err != nil {
		_ = os.Remove(to + indexSuffix)
	}
	return nil
}

// removeFile removes a file of a trace and its index.
func removeFile(name string) error {
	_ = os.Remove(name + indexSuffix)
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// realPath returns path without symbolic links: rotated files lie beside the file, not beside a
// link.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}
