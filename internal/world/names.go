package world

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
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

// errForeign is returned by lockDir for what somebody else has made.
var errForeign = errors.New("is there already and was not made by substrate")

// lockedMode is the mode of the directories that lockDir makes. The sticky bit means nothing where only the owner can
// write, so nobody sets it there: it is the mark by which these directories are told from the user's, who may
// keep other things at the place of the uppers. Mkdir sets it in the same moment.
//
// Source: mkdir(2), NOTES.
const lockedMode = 0o1700

// isOurs says whether lockDir made the directory path; ENOENT if it is not there.
func isOurs(path string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return false, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st.Mode&(unix.S_IFMT|0o1077) == unix.S_IFDIR|0o1000 && int(st.Uid) == os.Geteuid(), nil
}

// lockDir makes the directory path if it is missing, and locks it until the returned descriptor and all its
// copies are closed. fresh says whether it was made. A lock that another process holds gives
// errTaken, a directory that lockDir did not make errForeign.
//
// The lock is on the directory itself, so that there is no moment in which the directory
// exists and cannot be locked; and since whoever removes a directory holds its lock, a look
// whether the locked directory is still the one at path closes the last gap.
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

// foreignHash is how many hex digits of its hash a name has that was made from an unusable id.
const foreignHash = 16

// NameOf is the name of a world that replays the span id: the id itself if it can be a name and leaves room for
// _2, _3 …, else spn_ and part of its SHA-256.
func NameOf(id string) string {
	if len(id) <= 40 && CheckName(id) == nil {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "spn_" + hex.EncodeToString(sum[:])[:foreignHash]
}
