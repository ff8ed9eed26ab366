package worldfs

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// xattrs reads the extended attributes of one file.
type xattrs struct {
	list func(dest []byte) (int, error)
	get  func(name string, dest []byte) (int, error)
}

// openXattrs reads those of an open file.
func openXattrs(fd int) xattrs {
	return xattrs{
		list: func(dest []byte) (int, error) { return unix.Flistxattr(fd, dest) },
		get:  func(name string, dest []byte) (int, error) { return unix.Fgetxattr(fd, name, dest) },
	}
}

// namedXattrs reads those of a name in a directory, which may be of any type. The calls that take a
// directory and a name are as young as Linux 6.13; a path through /proc is as good.
func namedXattrs(d *dir, name string) xattrs {
	path := namedPath(d, name)
	return xattrs{
		list: func(dest []byte) (int, error) { return unix.Llistxattr(path, dest) },
		get:  func(name string, dest []byte) (int, error) { return unix.Lgetxattr(path, name, dest) },
	}
}

// namedPath is a path for a name in an open directory.
func namedPath(d *dir, name string) string { return "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + name }

// xattrBuffers hold a list or a value; neither can be longer than 64 KiB.
var xattrBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// names returns the names of all attributes, none where the file system has no such thing.
func (x xattrs) names() ([]string, error) {
	buf := xattrBuffers.Get().(*[]byte)
	defer xattrBuffers.Put(buf)
	n, err := ignoringEINTR(func() (int, error) { return x.list(*buf) })
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string((*buf)[:n]), "\x00"), "\x00"), nil
}

// value returns one attribute, "" if it is gone.
func (x xattrs) value(name string) (string, error) {
	buf := xattrBuffers.Get().(*[]byte)
	defer xattrBuffers.Put(buf)
	n, err := ignoringEINTR(func() (int, error) { return x.get(name, *buf) })
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return string((*buf)[:n]), nil
}

// xattrSet returns the attributes that the world sees, as one value that can be compared, without those whose names begin
// with one of except.
func xattrSet(x xattrs, prefix string, except ...string) (string, error) {
	names, err := x.names()
	if err != nil {
		return "", err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !isVisible(name, prefix) || slices.ContainsFunc(except, func(p string) bool { return strings.HasPrefix(name, p) })
	})
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		v, err := x.value(name)
		if err != nil {
			return "", err
		}
		b.WriteString(strconv.Quote(name) + "=" + strconv.Quote(v) + "\n")
	}
	return b.String(), nil
}

// isVisible tells whether an attribute counts as one of the file: not the marks of the overlay itself, but those that
// the command set under the same names, which the kernel escapes by a second "overlay."; not security.evm, a
// signature that is bound to the inode and never copied up; and not what a file system invents
// ("btrfs.compression", "system.nfs4_acl"), which another one, as the upper may be, cannot hold.
//
// Source: overlayfs.rst, "Nesting overlayfs mounts"; Linux security_inode_copy_up_xattr.
func isVisible(name, prefix string) bool {
	if prefix == FusePrefix && slices.ContainsFunc(fuseMarks, func(mark string) bool { return strings.HasPrefix(name, mark) }) {
		return false
	}
	if rest, marked := strings.CutPrefix(name, prefix); marked {
		return strings.HasPrefix(rest, "overlay.")
	}
	if name == "security.evm" {
		return false
	}
	for _, space := range []string{"user.", "trusted.", "security.", "system.posix_acl_"} {
		if strings.HasPrefix(name, space) {
			return true
		}
	}
	return false
}

// marks are what the overlay notes on a directory of the upper.
type marks struct {
	opaque   bool   // what the lower has there is gone
	redirect string // where the lower directory is that it is merged with: a name beside it, or "/" and a path from the root of the lower
}

// marksOf reads the marks of an open directory of an upper.
func (l *layer) marksOf(d *dir) (marks, error) {
	if l.isFuse() {
		return fuseMarksOf(d)
	}
	return marksOf(openXattrs(d.fd), l.Prefix)
}

// marksOf reads the marks of the kernel's overlay.
//
// Source: overlayfs.rst, "Whiteouts and opaque directories", "redirect_dir".
func marksOf(x xattrs, prefix string) (m marks, err error) {
	names, err := x.names()
	if err != nil {
		return m, err
	}
	if slices.Contains(names, prefix+"opaque") {
		v, err := x.value(prefix + "opaque")
		if err != nil {
			return m, err
		}
		m.opaque = v == "y" // "x" says that there are whiteouts in the form of attributes
	}
	if !m.opaque && slices.Contains(names, prefix+"redirect") {
		m.redirect, err = x.value(prefix + "redirect")
	}
	return m, err
}

// hasMark tells whether a name carries a mark that needs no value.
func hasMark(d *dir, name, mark string) (bool, error) {
	names, err := namedXattrs(d, name).names()
	return slices.Contains(names, mark), err
}
