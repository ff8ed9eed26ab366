package tree

import (
	"errors"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
)

// UserXattrs says why the file system of dir has no xattrs in the namespace user, nil if it has. There the kernel's overlay keeps its
// marks for who is not root; without them it cannot say that a directory hides another, and rm -r ends with EIO. The error wraps
// [probe.ErrUnsupported].
//
// Source: getxattr(2), ENOTSUP; overlayfs.rst, "User xattr". tmpfs has them from Linux 6.6 on.
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
