// Package tree opens the directories and files of a tree without following links, and compares and
// copies files: contents, extended attributes, metadata.
//
// A tree may change while it is walked, and may be hostile. So each name is opened relative to its
// open directory. Packages upper and snapshot know what the files mean.
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

// SortedNames lists a directory, sorted by name.
func SortedNames(d *Dir) ([]string, error) {
	var names []string
	err := d.Names(func(name string, _ uint64) { names = append(names, name) })
	slices.SortFunc(names, strings.Compare)
	return names, err
}

// Dir is an open directory. The tasks for its entries share it, and the last of them closes it, so
// a deep tree needs few descriptors. Nil stands for no directory.
//
// Entries are opened by a single name: a path could be longer than PATH_MAX, or follow a symlink.
type Dir struct {
	FD   int
	refs atomic.Int32
	back int // mode to restore when the directory is closed; -1 for none

	// Denied is set when the caller turns out to have no right to enter the directory. So this is
	// found and reported once.
	Denied atomic.Bool
}

// NewDir wraps an open descriptor, which it owns from then on.
func NewDir(fd int) *Dir {
	d := &Dir{FD: fd, back: -1}
	d.refs.Store(1)
	return d
}

// Hold adds a reference and returns d.
func (d *Dir) Hold() *Dir {
	if d != nil {
		d.refs.Add(1)
	}
	return d
}

// Release drops one reference to each directory. The last one closes it and restores the mode that
// force changed. An error of that is ignored: the diff does not depend on it.
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

// Open opens a directory by its path. If the caller may not list it, it is opened with O_PATH: the
// right to search is enough to look up names, and users often have only that for /home.
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

// OpenUpper opens a directory of an upper or of a copy. If its owner, the caller, has no right to
// read or enter it by st, it has that right until the last reference is gone.
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

// OpenUpperRoot is OpenUpper for the upper itself. It returns the state before any change of mode.
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

// isShut reports whether the caller owns a directory but may not list or enter it.
func isShut(st *unix.Stat_t) bool { return st.Mode&0o500 != 0o500 && isOurs(st) }

// isOurs reports whether the caller owns a file and its mode could deny them access.
func isOurs(st *unix.Stat_t) bool { return int(st.Uid) == os.Geteuid() && !passesModes() }

// passesModes reports whether this process has access whatever the mode of a file: it is root and
// still has the capability.
//
// Source: capabilities(7), CAP_DAC_OVERRIDE.
var passesModes = sync.OnceValue(func() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return os.Geteuid() == 0 && unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_DAC_OVERRIDE) != 0
})

// force opens a directory and gives its owner all rights for as long as it is open.
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

// chmodHandle changes the mode of the file behind an O_PATH descriptor; fchmod(2) refuses that.
func chmodHandle(fd int, mode uint32) error {
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode&0o7777)
}

// OpenLower opens a directory of the lower. It returns nil if there is none, or if a file system is
// mounted there: the overlay does not see that either. As with Open, the right to search is enough.
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
		fd, err = Openat(parent.FD, name, unix.O_DIRECTORY) // before Linux 5.6, or a filter refuses openat2
	}
	switch {
	case err == nil:
		return NewDir(fd), nil
	case IsAbsent(err) || errors.Is(err, unix.EXDEV):
		return nil, nil
	}
	return nil, err
}

// openOnDevice opens a directory. The error is EXDEV if a file system is mounted on it.
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

// Openat opens a file for reading. It does not follow a symlink or wait for the writer of a fifo,
// and leaves the access time alone if the caller may do that.
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

// IsAbsent reports whether the error means that no file, or no directory, has that name.
func IsAbsent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// Retry calls f again until it is not interrupted by a signal.
func Retry[T any](f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if !errors.Is(err, syscall.EINTR) {
			return v, err
		}
	}
}

// direntBuffers holds buffers for names, so large that a directory with 10,000 names takes few
// calls.
var direntBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// Names calls f for each name in the directory except "." and "..", with its inode number. f may
// keep the name. The error is EACCES if the caller may not list the directory.
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
		return unix.EACCES // opened without the right to list it
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

// IsEmpty reports whether the directory has no entries. It returns false if it cannot be read.
// Nothing may have read the directory before.
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

// eachName splits the result of getdents64 into names. All of them share one string.
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
