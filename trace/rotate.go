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

// rotateWait is how long a writer tries to be alone with a file that is full. If it cannot, its line goes
// to the full file, and the next writer tries again.
const rotateWait = 200 * time.Millisecond

// errNoLocks is why a trace on some file systems is never rotated.
var errNoLocks = errors.New("its file system does not support locks")

// Rotation
//
// A file that has MaxBytes or more is full: the next writer renames it to NAME.1 and begins a new
// one, before it writes its own line. So a file exceeds its limit by less than one line of each
// writer, and whoever opened it a moment before finds it full.
//
// Names change only under the exclusive lock on the file that is at the path itself: that of a
// rotated file too. Writers hold the shared lock while they write, so a file is never moved in
// the middle of a line, and look after they got it whether the file is still the right one.

// full reports whether a file of that size has to be rotated before the next line.
func (w *Writer) full(size int64) bool { return w.opt.MaxBytes > 0 && size >= w.opt.MaxBytes }

// rotate is called with the shared lock on a full file. It returns with a lock on the file that the line
// is to go to, and its size. That may be the full one: then the caller was told why.
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

// notice tells the caller why a trace goes on growing.
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

// shift moves the file at path to path.1, path.1 to path.2 and so on up to the first number that
// is free, and removes what has a number above keep. If it is interrupted a number is free, no line
// is lost, and the next call begins there. The caller holds the exclusive lock.
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

// numbered is the name of the nth rotated file.
func numbered(path string, n int) string { return path + "." + strconv.Itoa(n) }

// renameFile renames a file of a trace and its index. An index that stays behind costs time, not more.
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

// realPath is path without symbolic links: rotated files lie beside the file and not beside a link to it.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}
