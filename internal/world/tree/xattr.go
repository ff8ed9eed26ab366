package tree

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
)

// Xattrs reads the extended attributes of one file. The zero value has none.
type Xattrs struct {
	list func(dest []byte) (int, error)
	get  func(name string, dest []byte) (int, error)
}

// FileXattrs reads the attributes of an open file.
func FileXattrs(fd int) Xattrs {
	return Xattrs{
		list: func(dest []byte) (int, error) { return unix.Flistxattr(fd, dest) },
		get:  func(name string, dest []byte) (int, error) { return unix.Fgetxattr(fd, name, dest) },
	}
}

// NamedXattrs reads the attributes of a file of any type, by its name in a directory. It uses a
// path in /proc, because getxattrat(2) exists only since Linux 6.13.
func NamedXattrs(d *Dir, name string) Xattrs { return PathXattrs(NamedPath(d, name)) }

// PathXattrs reads the attributes of the file at a path, without following a symlink.
func PathXattrs(path string) Xattrs {
	return Xattrs{
		list: func(dest []byte) (int, error) { return unix.Llistxattr(path, dest) },
		get:  func(name string, dest []byte) (int, error) { return unix.Lgetxattr(path, name, dest) },
	}
}

// NamedPath returns a path for a name in an open directory.
func NamedPath(d *Dir, name string) string { return "/proc/self/fd/" + strconv.Itoa(d.FD) + "/" + name }

// xattrBuffers holds buffers for a list or a value. Neither can be longer than 64 KiB.
var xattrBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// Names returns the names of all attributes. It returns none if the file system does not support
// them.
func (x Xattrs) Names() ([]string, error) {
	if x.list == nil {
		return nil, nil
	}
	buf := xattrBuffers.Get().(*[]byte)
	defer xattrBuffers.Put(buf)
	n, err := Retry(func() (int, error) { return x.list(*buf) })
	if errors.Is(err, unix.ENOTSUP) || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string((*buf)[:n]), "\x00"), "\x00"), nil
}

// Value returns the value of one attribute, "" if it is gone.
func (x Xattrs) Value(name string) (string, error) {
	buf := xattrBuffers.Get().(*[]byte)
	defer xattrBuffers.Put(buf)
	n, err := Retry(func() (int, error) { return x.get(name, *buf) })
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return string((*buf)[:n]), nil
}

// XattrSet returns the attributes that count as one comparable string. It leaves out those for
// which skip returns true. skip may be nil.
func XattrSet(x Xattrs, skip func(name string) bool) (string, error) {
	names, err := x.Names()
	if err != nil {
		return "", err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !IsPortable(name) || skip != nil && skip(name)
	})
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		v, err := x.Value(name)
		if err != nil {
			return "", err
		}
		b.WriteString(strconv.Quote(name) + "=" + strconv.Quote(v) + "\n")
	}
	return b.String(), nil
}

// IsPortable reports whether an attribute belongs to the file. security.evm does not: it is a
// signature that is bound to the inode and never copied up. Nor do attributes that the file system
// invents ("btrfs.compression", "system.nfs4_acl"): another file system cannot hold them.
//
// Source: Linux security_inode_copy_up_xattr.
func IsPortable(name string) bool {
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

// UserXattrs returns an error if the file system of dir does not support xattrs in the namespace
// user. A user's overlay keeps its marks there; without them it cannot mark a directory as opaque,
// and rm -r fails with EIO. The error wraps [probe.ErrUnsupported].
//
// Source: getxattr(2), ENOTSUP; overlayfs.rst, "User xattr". tmpfs supports them since Linux 6.6.
func UserXattrs(dir string) error {
	_, err := unix.Lgetxattr(dir, "user.substrate", nil)
	if errors.Is(err, unix.ENOTSUP) {
		return &probe.Error{
			What: "keep uppers in " + dir, Err: errors.New("its file system has no user xattrs, which a user's overlay needs (tmpfs has them from Linux 6.6 on)"),
			Remedy: "set SUBSTRATE_OVERLAY_ROOT to a directory on ext4, xfs or btrfs",
		}
	}
	return nil
}
