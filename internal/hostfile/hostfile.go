// Package hostfile locks, makes, replaces and removes files on the host with care for what others
// do at the same time.
//
// Others are processes of ours, which run at any time and may be killed at any moment, and other
// users, who may put links and files of their own where they can write.
package hostfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrNotPrivate is the error of [OpenPrivate] for what is no regular file of this user.
var ErrNotPrivate = errors.New("not a regular file of this user")

// OpenPrivate opens a file that only its owner can read, with the flags of open(2). It makes the
// file and its directory if they are missing. It follows no link, and the error is [ErrNotPrivate]
// for another user's file: in a directory where others can write, either would give secrets away.
func OpenPrivate(path string, flags int) (*os.File, error) {
	flags |= os.O_CREATE | syscall.O_NOFOLLOW | syscall.O_NONBLOCK // of a named pipe nobody waits for the other end
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(path, flags, 0o600)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		stat, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !info.Mode().IsRegular() || !ok || int(stat.Uid) != os.Geteuid():
			err = fmt.Errorf("%s: %w", path, ErrNotPrivate)
		case info.Mode().Perm() != 0o600:
			err = f.Chmod(0o600)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Lock takes the exclusive lock on f. It ends when f is closed; no program that this one starts
// inherits it. The error wraps EWOULDBLOCK if another process still holds the lock after wait. It
// is one that [NoLocks] reports if the file system has no locks.
//
// Source: flock(2).
func Lock(f *os.File, wait time.Duration) error {
	for end := time.Now().Add(wait); ; time.Sleep(time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(end) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

// NoLocks reports whether an error of [Lock] means that the file system has no locks.
func NoLocks(err error) bool {
	return errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, syscall.EOPNOTSUPP)
}

// Replace puts a file with this text and mode at path in one step: everybody finds either the old
// file or the whole new one. Several processes may do so at the same time. One that is killed can
// leave a file called .new-* in the directory.
func Replace(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil && mode != 0o600 {
		err = f.Chmod(mode)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
