package world

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxName is the length of the longest name of a world. It leaves room below the 64 characters of an
// nft table for "substrate_".
const maxName = 52

// CheckName says whether name may become part of a path, a network namespace and an nft table.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("world name %q: want 1 to %d characters", name, maxName)
	}
	for _, c := range []byte(name) {
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return fmt.Errorf("world name %q: want only letters, digits and _", name)
		}
	}
	return nil
}

// nthName is name, name_2, name_3 …
func nthName(name string, n int) string {
	if n == 1 {
		return name
	}
	return name + "_" + strconv.Itoa(n)
}

// errTaken is returned by lockDir for a directory that a living world holds.
var errTaken = errors.New("held by a living world")

// lockDir makes the directory path if it is missing, and locks it until the returned descriptor and all its
// copies are closed. fresh says whether it was made. A lock that another process holds gives
// errTaken.
//
// The lock is on the directory itself, so that there is no moment in which the directory
// exists and cannot be locked; and since whoever removes a directory holds its lock, a look
// whether the locked directory is still the one at path closes the last gap.
//
// Source: flock(2).
func lockDir(path string) (fd int, fresh bool, err error) {
	for {
		fresh = true
		if err := unix.Mkdir(path, 0o700); errors.Is(err, unix.EEXIST) {
			fresh = false
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

// waitForLock is tryLock for a directory that no living world can hold: if it is locked, then by a
// gc, which takes it for a leftover or lets go of it in a moment.
func waitForLock(path string) (int, error) {
	for deadline := time.Now().Add(lockPatience); ; {
		fd, err := tryLock(path)
		if !errors.Is(err, errTaken) || time.Now().After(deadline) {
			return fd, err
		}
		runtime.Gosched()
	}
}

// tryLock locks an existing directory. The error is errTaken if it is held, ENOENT if it
// went away.
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
