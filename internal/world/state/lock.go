package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/hostfile"
)

// errTaken is returned by lockDir for a directory that a living world holds.
var errTaken = errors.New("held by a running world")

// errForeign is returned by lockDir for a directory that somebody else has made.
var errForeign = errors.New("already exists and was not made by substrate")

// lockedMode is the mode of the directories that lockDir makes. The sticky bit means nothing where
// only the owner can write, so nobody sets it there. It distinguishes these directories from the
// user's, who may keep other things beside the uppers. Mkdir sets it atomically.
//
// Source: mkdir(2), NOTES.
const lockedMode = 0o1700

// isOurs reports whether lockDir made the directory path; ENOENT if it does not exist.
func isOurs(path string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return false, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st.Mode&(unix.S_IFMT|0o1077) == unix.S_IFDIR|0o1000 && int(st.Uid) == os.Geteuid(), nil
}

// MarkUpper restores the mode of an upper whose command ran on the host and may have changed it.
// Without that mode [Remove] would take the directory for somebody else's.
func MarkUpper(fd int) { _ = unix.Fchmod(fd, lockedMode) }

// lockDir makes the directory path if it is missing, and locks it until the returned descriptor and
// all its copies are closed. fresh reports whether it was made. The error is errTaken if another
// process holds the lock, and errForeign for a directory that lockDir did not make.
//
// The lock is on the directory itself, so there is no moment in which the directory exists and
// cannot be locked. Whoever removes a directory holds its lock, so it is enough to check afterwards
// that the locked directory is still the one at path.
//
// Source: flock(2).
func lockDir(path string) (fd int, fresh bool, err error) {
	for {
		fresh = true
		if err := unix.Mkdir(path, lockedMode); errors.Is(err, unix.EEXIST) {
			fresh = false
			if ours, err := isOurs(path); err == nil && !ours {
				return -1, false, fmt.Errorf("%s %w", path, errForeign)
			}
		} else if err != nil {
			return -1, false, fmt.Errorf("make %s: %w", path, err)
		}
		fd, err = tryLock(path)
		if fresh && errors.Is(err, errTaken) {
			fd, err = waitForLock(path)
		}
		if errors.Is(err, unix.ENOENT) {
			continue // removed by whoever held it
		}
		return fd, fresh, err
	}
}

// lockPatience bounds the wait for a lock that a gc holds while it looks.
const lockPatience = time.Second

// waitForLock is tryLock for a directory that no living world can hold. If it is locked, then by a
// gc, which removes it as a leftover or unlocks it in a moment.
func waitForLock(path string) (int, error) {
	for deadline := time.Now().Add(lockPatience); ; {
		fd, err := tryLock(path)
		if !errors.Is(err, errTaken) || time.Now().After(deadline) {
			return fd, err
		}
		runtime.Gosched()
	}
}

// tryLock locks an existing directory. The error is errTaken if it is held, ENOENT if it vanished.
func tryLock(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return -1, fmt.Errorf("%s: %w", path, errTaken)
		}
		return -1, fmt.Errorf("lock %s: %w", path, err)
	}
	var locked, there unix.Stat_t
	err = unix.Fstat(fd, &locked)
	if err == nil {
		err = unix.Lstat(path, &there)
	}
	if err == nil && (locked.Ino != there.Ino || locked.Dev != there.Dev) {
		err = unix.ENOENT
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("lock %s: %w", path, err)
	}
	return fd, nil
}

// TakeUpper makes and locks the directory dir for the uppers of a world whose name the caller
// holds. The lock of its own keeps a gc that looks in another run-time root from removing it as a
// leftover.
func TakeUpper(dir string) (fd int, err error) {
	for {
		fd, fresh, err := lockDir(dir)
		if errors.Is(err, errTaken) {
			// The name is ours, so no other world holds it: a gc is removing what a power cut left.
			fd, err = waitForLock(dir)
			if errors.Is(err, unix.ENOENT) {
				continue
			}
		}
		if err != nil {
			return -1, fmt.Errorf("take the upper of world %s: %w", filepath.Base(dir), err)
		}
		if fresh {
			return fd, nil
		}
		// A power cut left it: its state directory was in memory.
		err = hostfile.RemoveTree(dir)
		_ = unix.Close(fd)
		if err != nil {
			return -1, err
		}
	}
}
