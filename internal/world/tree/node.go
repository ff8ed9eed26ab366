package tree

import (
	"errors"

	"golang.org/x/sys/unix"
)

// ReadLink returns the target of a symlink.
func ReadLink(dirfd int, name string) (string, error) {
	buf := make([]byte, 4096) // the longest there can be
	n, err := unix.Readlinkat(dirfd, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// Open opens a regular file for reading. If it is one of the upper whose owner, the caller, may not read it, its mode
// is changed for a moment.
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

// Inode names a file of the lower; a btrfs has the same number once in each subvolume.
type Inode struct{ dev, ino uint64 }

// Inode returns the name of the file itself.
func (n *Node) Inode() Inode { return InodeOf(&n.Stat) }

// InodeOf returns the name of the file that st describes.
func InodeOf(st *unix.Stat_t) Inode { return Inode{uint64(st.Dev), st.Ino} }

// Node is a file of any type, by the directory that it is in.
type Node struct {
	Dir   *Dir
	Name  string
	Stat  unix.Stat_t
	Upper bool // in an upper, so its marks are the overlay's
}

// IsDir reports whether n is a directory; nil is none.
func (n *Node) IsDir() bool { return n != nil && n.Stat.Mode&unix.S_IFMT == unix.S_IFDIR }

// Format returns the type bits of the mode.
func (n *Node) Format() uint32 { return n.Stat.Mode & unix.S_IFMT }
