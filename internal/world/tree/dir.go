// Package tree opens the directories and files of a tree without following links, and compares
// two files: contents, extended attributes, metadata.
//
// A tree may change while it is walked, and may be hostile. So each name is opened relative to its
// open directory. What the files mean, an upper or a copy, is left to packages upper and snapshot.
package tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// SortedNames lists a directory in the order of their bytes.
func SortedNames(d *Dir) ([]string, error) {
	var names []string
	err := d.Names(func(name string, _ uint64) { names = append(names, name) })
	slices.SortFunc(names, strings.Compare)
	return names, err
}

// Dir is an open directory. It is shared by the jobs for what is in it and is closed with the
// last of them, so that a deep tree needs few descriptors. A nil dir holds nothing.
//
// Everything is reached from an open directory by a single name: paths may be longer than
// PATH_MAX, and no symlink is ever followed.
type Dir struct {
	FD   int
	refs atomic.Int32
	back int // mode to restore when it is closed, -1 for none

	// Denied says that the caller may not enter it, so that this is found out, and noted, once.
	Denied atomic.Bool
}

// NewDir takes over an open descriptor.
func NewDir(fd int) *Dir {
	d := &Dir{FD: fd, back: -1}
	d.refs.Store(1)
	return d
}

// Hold takes one more reference.
func (d *Dir) Hold() *Dir {
	if d != nil {
		d.refs.Add(1)
	}
	return d
}

// Release drops a reference. A mode that force changed is restored with the last one; an error of
// that has no one to go to, and the diff does not depend on it.
func Release(dirs ...*Dir) {
	for _, d := range dirs {
		if d == nil || d.refs.Add(-1) > 0 {
			continue
		}
		if d.back >= 0 {
			_ = unix.Fchmod(d.FD, uint32(d.back))
		}
		_ = unix.Close(d.FD)
	}
}

// Open opens a directory by the path that the caller of Walk gave. One that may not be listed is opened
// without: to look at a name in it, the right to search is enough, and /home is often like that for users.
func Open(path string) (*Dir, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EACCES) {
		fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return NewDir(fd), nil
}

// OpenUpper opens a directory of an upper. If st says that its owner, the caller, may not read or
// enter it, it is opened to them until the last reference is gone.
func OpenUpper(parent *Dir, name string, st *unix.Stat_t) (*Dir, error) {
	if isShut(st) {
		handle, err := unix.Openat(parent.FD, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(handle)
		return force(handle, st)
	}
	fd, err := Openat(parent.FD, name, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return NewDir(fd), nil
}

// OpenUpperRoot is OpenUpper for an upper itself, and returns its state as it was.
func OpenUpperRoot(path string) (*Dir, unix.Stat_t, error) {
	var st unix.Stat_t
	handle, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, st, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(handle)
	if err := unix.Fstat(handle, &st); err != nil {
		return nil, st, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if isShut(&st) {
		d, err := force(handle, &st)
		return d, st, err
	}
	fd, err := Openat(handle, ".", unix.O_DIRECTORY)
	if err != nil {
		return nil, st, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return NewDir(fd), st, nil
}

// isShut tells whether the caller owns the directory of an upper but may not list or enter it.
func isShut(st *unix.Stat_t) bool { return st.Mode&0o500 != 0o500 && isOurs(st) }

// isOurs tells whether a mode may be in the caller's way, and the caller owns the file and so may change it.
func isOurs(st *unix.Stat_t) bool { return int(st.Uid) == os.Geteuid() && !passesModes() }

// passesModes says whether the modes of files are nothing to this process: it is root, and in no container that took that away.
//
// Source: capabilities(7), CAP_DAC_OVERRIDE.
var passesModes = sync.OnceValue(func() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return os.Geteuid() == 0 && unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_DAC_OVERRIDE) != 0
})

// force gives the owner all rights to a directory, for as long as it is open.
func force(handle int, st *unix.Stat_t) (*Dir, error) {
	if err := chmodHandle(handle, st.Mode|0o700); err != nil {
		return nil, err
	}
	fd, err := Openat(handle, ".", unix.O_DIRECTORY)
	if err != nil {
		return nil, errors.Join(err, chmodHandle(handle, st.Mode))
	}
	d := NewDir(fd)
	d.back = int(st.Mode & 0o7777)
	return d, nil
}

// chmodHandle changes the mode of what an O_PATH descriptor refers to, which fchmod(2) refuses.
func chmodHandle(fd int, mode uint32) error {
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode&0o7777)
}

// OpenLower opens a directory of the lower, or returns nil if there is none. What is mounted on it on
// the host is not looked into: the overlay does not see it either. As with Open, it need not be one that may be listed.
func OpenLower(parent *Dir, name string) (*Dir, error) {
	if parent == nil || parent.Denied.Load() {
		return nil, nil
	}
	fd, err := openOnDevice(parent.FD, name, unix.O_RDONLY|unix.O_NOATIME)
	if errors.Is(err, unix.EPERM) { // O_NOATIME is for the owner
		fd, err = openOnDevice(parent.FD, name, unix.O_RDONLY)
	}
	if errors.Is(err, unix.EACCES) {
		fd, err = openOnDevice(parent.FD, name, unix.O_PATH)
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EAGAIN) {
		fd, err = Openat(parent.FD, name, unix.O_DIRECTORY) // before Linux 5.6, or refused by a filter
	}
	switch {
	case err == nil:
		return NewDir(fd), nil
	case IsAbsent(err) || errors.Is(err, unix.EXDEV):
		return nil, nil
	}
	return nil, err
}

// openOnDevice opens a directory, with EXDEV if another file system is mounted on it.
//
// Source: openat2(2), RESOLVE_NO_XDEV (Linux 5.6).
func openOnDevice(dirfd int, name string, flags uint64) (int, error) {
	return unix.Openat2(dirfd, name, &unix.OpenHow{
		Flags:   flags | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// OpenLowerPath is OpenLower for a path of several names.
func OpenLowerPath(root *Dir, path string) (*Dir, error) {
	d := root.Hold()
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		next, err := OpenLower(d, name)
		Release(d)
		if next == nil || err != nil {
			return nil, err
		}
		d = next
	}
	return d, nil
}

// Openat opens for reading, without following a symlink, waiting for a writer of a fifo, or, where it may, changing
// the access time.
func Openat(dirfd int, name string, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	return Retry(func() (int, error) {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_NOATIME, 0)
		if errors.Is(err, unix.EPERM) {
			fd, err = unix.Openat(dirfd, name, flags, 0)
		}
		return fd, err
	})
}

// IsAbsent reports whether the error means that there is nothing, or no directory, of that name.
func IsAbsent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// Retry calls f until it is not interrupted.
func Retry[T any](f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if !errors.Is(err, syscall.EINTR) {
			return v, err
		}
	}
}

// direntBuffers are for names; a directory with 10,000 names is read in few calls.
var direntBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// Names calls f for each name in the directory but "." and "..", with its inode number. Name
// stays valid. The error is EACCES where the caller may not list it. The position of the descriptor is moved back to the start first.
//
// Source: getdents64(2), "struct linux_dirent64".
func (d *Dir) Names(f func(name string, ino uint64)) error {
	if d == nil {
		return nil
	}
	if d.Denied.Load() {
		return nil
	}
	if _, err := unix.Seek(d.FD, 0, unix.SEEK_SET); errors.Is(err, unix.EBADF) {
		return unix.EACCES // it is open without the right to list it
	} else if err != nil {
		return fmt.Errorf("rewind directory: %w", err)
	}
	buf := direntBuffers.Get().(*[]byte)
	defer direntBuffers.Put(buf)
	for {
		n, err := Retry(func() (int, error) { return unix.Getdents(d.FD, *buf) })
		if err != nil {
			return fmt.Errorf("read directory: %w", err)
		}
		if n <= 0 {
			return nil
		}
		eachName((*buf)[:n], f)
	}
}

// IsEmpty reports whether the directory, of which nothing was read before, has no name. It
// reports false if it cannot be read.
func (d *Dir) IsEmpty() bool {
	var buf [1024]byte
	for empty := true; empty; {
		n, err := Retry(func() (int, error) { return unix.Getdents(d.FD, buf[:]) })
		if err != nil || n <= 0 {
			return err == nil
		}
		eachName(buf[:n], func(string, uint64) { empty = false })
	}
	return false
}

// eachName cuts what getdents64 returned into names. One string holds all of them.
func eachName(b []byte, f func(name string, ino uint64)) {
	const head = 19 // d_ino 8, d_off 8, d_reclen 2, d_type 1
	for text := string(b); len(b) >= head; {
		length := int(binary.NativeEndian.Uint16(b[16:]))
		end := bytes.IndexByte(b[head:length], 0)
		name := text[head : head+end]
		if name != "." && name != ".." {
			f(name, binary.NativeEndian.Uint64(b))
		}
		b, text = b[length:], text[length:]
	}
}
