package worldfs

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
)

// dirChanged compares the owner, mode and attributes of a directory. The time does not count: it
// changes with what is in it.
func (w *walker) dirChanged(j *job, v *view) bool {
	a, b := &j.now.st, &j.before.st
	if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid {
		return true
	}
	now := v.up
	if !j.now.upper {
		now = v.low
	}
	if now == nil || v.was == nil || now == v.was {
		return false // the same one, or one that could not be opened
	}
	// By name, because a directory of the lower may be open without the right to read it.
	return w.xattrsDiffer(j, "", namedXattrs(now, "."), namedXattrs(v.was, "."))
}

// changed compares two files of the same type, neither of them a directory.
func (w *walker) changed(j *job, v *view, now, before *node) bool {
	a, b := &now.st, &before.st
	if !now.upper && a.Dev == b.Dev && a.Ino == b.Ino {
		return false
	}
	if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid || a.Mtim != b.Mtim || a.Rdev != b.Rdev || a.Size != b.Size {
		return true
	}
	if now.format() == unix.S_IFLNK && w.target(j, now) != w.target(j, before) {
		return true
	}
	if w.xattrsDiffer(j, "/"+before.name, namedXattrs(now.d, now.name), namedXattrs(before.d, before.name)) {
		return true
	}
	return now.format() == unix.S_IFREG && a.Size > 0 && w.contentDiffers(j, v, now, before)
}

// xattrsDiffer compares attributes; what cannot be read is noted and taken for equal.
func (w *walker) xattrsDiffer(j *job, name string, now, before xattrs) bool {
	a, err := xattrSet(now, j.l.Prefix)
	b, err2 := xattrSet(before, j.l.Prefix)
	if err := errors.Join(err, err2); err != nil {
		w.unknown(j, name, err)
		return false
	}
	return a != b
}

// contentDiffers compares the bytes of two regular files of equal size. What cannot be read is noted and taken
// for equal, because size and time of change are.
func (w *walker) contentDiffers(j *job, v *view, now, before *node) bool {
	if now.upper {
		now = w.data(j, v, now, before)
		if now == nil || !now.upper && now.st.Dev == before.st.Dev && now.st.Ino == before.st.Ino {
			return false
		}
	}
	a, err := now.open()
	if err != nil {
		w.unknown(j, "/"+before.name, err)
		return false
	}
	defer unix.Close(a)
	b, err := before.open()
	if err != nil {
		w.unknown(j, "/"+before.name, err)
		return false
	}
	defer unix.Close(b)
	same, err := sameContent(a, b, now.st.Size)
	if err != nil {
		w.unknown(j, "/"+before.name, err)
		return false
	}
	return !same
}

// data returns the file that has the content of an entry of the upper: the entry itself, or for one that only has
// metadata the lower's, nil if that is not to be found.
//
// Source: overlayfs.rst, "Metadata only copy up".
func (w *walker) data(j *job, v *view, n, before *node) *node {
	x := namedXattrs(n.d, n.name)
	names, err := x.names()
	if err != nil || !slices.Contains(names, j.l.Prefix+"metacopy") {
		return n
	}
	redirect, err := x.value(j.l.Prefix + "redirect")
	if err != nil {
		w.unknown(j, "/"+before.name, err)
		return nil
	}
	d, name := v.low, n.name
	if dirname, base, found := strings.Cut(redirect, "/"); found && dirname == "" {
		cut := strings.LastIndexByte(base, '/')
		name = base[cut+1:]
		if d = j.l.root; cut >= 0 {
			if d, err = openLowerPath(j.l.root, base[:cut]); err != nil || d == nil {
				return nil
			}
			defer d.release()
		}
	} else if redirect != "" {
		name = redirect
	}
	lower := w.lowerNode(j, d, name)
	if lower != nil && lower.st.Dev == before.st.Dev && lower.st.Ino == before.st.Ino {
		return before
	}
	return lower
}

// open opens a regular file for reading. If it is one of the upper whose owner, the caller, may not read it, its mode
// is changed for a moment.
func (n *node) open() (int, error) {
	fd, err := openat(n.d.fd, n.name, 0)
	if !errors.Is(err, unix.EACCES) || !n.upper || !isOurs(&n.st) {
		return fd, err
	}
	handle, err := unix.Openat(n.d.fd, n.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(handle)
	if err := chmodHandle(handle, n.st.Mode|0o400); err != nil {
		return -1, err
	}
	fd, err = openat(n.d.fd, n.name, 0)
	return fd, errors.Join(err, chmodHandle(handle, n.st.Mode))
}

// contentBuffers come in pairs.
var contentBuffers = sync.Pool{New: func() any { b := make([]byte, 512<<10); return &b }}

// sameContent compares the first size bytes of two files. What is a hole in both is not read.
func sameContent(a, b int, size int64) (bool, error) {
	bufA := contentBuffers.Get().(*[]byte)
	defer contentBuffers.Put(bufA)
	bufB := contentBuffers.Get().(*[]byte)
	defer contentBuffers.Put(bufB)
	for off := int64(0); off < size; {
		off = min(nextData(a, off, size), nextData(b, off, size))
		n := int(min(size-off, int64(len(*bufA))))
		if n == 0 {
			break
		}
		if err := readAt(a, (*bufA)[:n], off); err != nil {
			return false, err
		}
		if err := readAt(b, (*bufB)[:n], off); err != nil {
			return false, err
		}
		if !bytes.Equal((*bufA)[:n], (*bufB)[:n]) {
			return false, nil
		}
		off += int64(n)
	}
	return true, nil
}

// nextData returns where the next byte at or after off is that is not in a hole, or size if there is none.
//
// Source: lseek(2), SEEK_DATA.
func nextData(fd int, off, size int64) int64 {
	at, err := unix.Seek(fd, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size
	case err != nil: // a file system that knows of no holes
		return off
	}
	return at
}

// readAt fills p; what is past the end reads as zeros, which a difference in size would have shown before.
func readAt(fd int, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := ignoringEINTR(func() (int, error) { return unix.Pread(fd, p, off) })
		if err != nil {
			return err
		}
		if n == 0 {
			clear(p)
			return nil
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// meta describes a file.
func (w *walker) meta(j *job, name string, n *node) fsdiff.Meta {
	st := &n.st
	m := fsdiff.Meta{Mode: octal(st.Mode), UID: st.Uid, GID: st.Gid, FileType: fileType(st.Mode)}
	m.Mtime = time.Unix(st.Mtim.Unix()).UTC().Format("2006-01-02T15:04:05.000000000Z")
	switch m.FileType {
	case fsdiff.File:
		m.Size = st.Size
	case fsdiff.Symlink:
		m.Size = st.Size
		m.SetTarget(w.target(j, n))
	}
	return m
}

// target returns the target of a symlink.
func (w *walker) target(j *job, n *node) string {
	buf := make([]byte, 4096) // the longest there can be
	k, err := unix.Readlinkat(n.d.fd, n.name, buf)
	if err != nil {
		w.unknown(j, "/"+n.name, err)
		return ""
	}
	return string(buf[:k])
}

// octal writes the permission bits as an entry has them: "0644".
func octal(mode uint32) string {
	digit := func(shift uint) byte { return '0' + byte(mode>>shift&7) }
	return string([]byte{digit(9), digit(6), digit(3), digit(0)})
}

// fileType translates the type of stat(2).
func fileType(mode uint32) fsdiff.FileType {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return fsdiff.Dir
	case unix.S_IFLNK:
		return fsdiff.Symlink
	case unix.S_IFIFO:
		return fsdiff.Fifo
	case unix.S_IFSOCK:
		return fsdiff.Socket
	case unix.S_IFCHR:
		return fsdiff.Char
	case unix.S_IFBLK:
		return fsdiff.Block
	}
	return fsdiff.File
}
