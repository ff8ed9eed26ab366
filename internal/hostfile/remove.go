package hostfile

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxOpen bounds the depth to which RemoveTree descends with one open descriptor a level.
// Directories that lie deeper are moved up first.
const maxOpen = 128

// RemoveTree removes the directory path and everything below it. A missing one is no error. It
// cannot reach anything else: the kernel resolves each step beneath the directory before it, does
// not cross into another mount (bind mounts of the same file system included) and follows no
// symlink. What is mounted inside stays, and so do the directories above it; the error says so.
//
// Source: openat2(2), RESOLVE_BENEATH, RESOLVE_NO_XDEV, RESOLVE_NO_SYMLINKS (Linux 5.6).
func RemoveTree(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	err = emptyDir(fd)
	_ = unix.Close(fd)
	if err == nil {
		err = unix.Rmdir(path)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// Empty removes everything below the directory path, with the care of [RemoveTree].
func Empty(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("empty %s: %w", path, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := emptyDir(fd); err != nil {
		return fmt.Errorf("empty %s: %w", path, err)
	}
	return nil
}

// emptyDir removes everything below the open directory fd.
func emptyDir(fd int) error {
	r := remover{top: fd}
	err := r.empty(fd, 0)
	for err == nil && r.moved {
		r.moved = false
		err = r.empty(fd, 0)
	}
	return err
}

type remover struct {
	top    int // the directory that removal began with
	serial int
	moved  bool // something deep was moved up to top
}

// empty removes the content of the directory fd.
func (r *remover) empty(fd, depth int) error {
	names, err := readNames(fd)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		err := unix.Unlinkat(fd, name, 0)
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
			err = r.dir(fd, name, depth+1)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// dir removes the directory name in parent.
func (r *remover) dir(parent int, name string, depth int) error {
	if unix.Unlinkat(parent, name, unix.AT_REMOVEDIR) == nil {
		return nil
	}
	if depth > maxOpen {
		r.moved = true
		r.serial++
		_ = unix.Fchmodat(parent, name, 0o700, 0) // its .. changes, which takes write permission
		return unix.Renameat(parent, name, r.top, fmt.Sprintf("deep-%d", r.serial))
	}
	fd, err := openBeneath(parent, name)
	if errors.Is(err, unix.EACCES) {
		// overlay leaves work/work with mode 000, and a command may have closed directories too.
		if unix.Fchmodat(parent, name, 0o700, 0) == nil {
			fd, err = openBeneath(parent, name)
		}
	}
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	err = r.empty(fd, depth)
	if errors.Is(err, unix.EACCES) && unix.Fchmod(fd, 0o700) == nil {
		err = r.empty(fd, depth)
	}
	_ = unix.Close(fd)
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	return nil
}

// openBeneath opens a directory for reading if it is neither a mount point nor a symlink. A kernel
// without openat2 gives ENOSYS, and then nothing is removed.
func openBeneath(parent int, name string) (int, error) {
	how := &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	}
	for {
		fd, err := unix.Openat2(parent, name, how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// readNames lists a directory, without . and ..
func readNames(fd int) ([]string, error) {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return nil, err
	}
	var names []string
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
