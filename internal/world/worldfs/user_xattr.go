package worldfs

import (
	"errors"
	"fmt"

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

// memoryMounts are places where a tmpfs of the host is likely to be seen.
var memoryMounts = []string{"/dev/shm", "/run", "/tmp"}

// userXattrsInMemory is UserXattrs for a tmpfs that is yet to be mounted; nil if no tmpfs can be asked.
func userXattrsInMemory() error {
	for _, dir := range memoryMounts {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil || st.Type != unix.TMPFS_MAGIC {
			continue
		}
		if err := UserXattrs(dir); err != nil {
			return fmt.Errorf("keep the changes in memory: %w", err)
		}
		return nil
	}
	return nil
}
