package tree

import (
	"errors"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
)

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
