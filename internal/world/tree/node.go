package tree

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ReadLink returns the target of a symlink.
func ReadLink(dirfd int, name string) (string, error) {
	buf := make([]byte, 4096) // PATH_MAX
	n, err := unix.Readlinkat(dirfd, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// Open opens a regular file for reading. If its owner, the caller, may not read it and it is in an
// upper, its mode is changed for a moment.
func (n *Node) Open() (int, error) {
	fd, err := Openat(n.Dir.FD, n.Name, 0)
	if !errors.Is(err, unix.EACCES) || !n.Upper || !isOurs(&n.Stat) {
		return fd, err
	}
	handle, err := unix.Openat(n.Dir.FD, n.Name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(handle)
	if err := chmodHandle(handle, n.Stat.Mode|0o400); err != nil {
		return -1, err
	}
	fd, err = Openat(n.Dir.FD, n.Name, 0)
	return fd, errors.Join(err, chmodHandle(handle, n.Stat.Mode))
}

// Inode identifies a file. Each subvolume of a btrfs uses the same numbers, so the device is part
// of it.
type Inode struct{ dev, ino uint64 }

// Inode returns the identity of the file.
func (n *Node) Inode() Inode { return InodeOf(&n.Stat) }

// InodeOf returns the identity of the file that st describes.
func InodeOf(st *unix.Stat_t) Inode { return Inode{uint64(st.Dev), st.Ino} }

// Node is a file of any type.
type Node struct {
	Dir   *Dir
	Name  string
	Stat  unix.Stat_t
	Upper bool // it is in an upper or a copy, so we may change its mode for a moment
}

// IsDir reports whether n is a directory. A nil n is none.
func (n *Node) IsDir() bool { return n != nil && n.Stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// Format returns the type bits of the mode.
func (n *Node) Format() uint32 { return n.Stat.Mode & unix.S_IFMT }
