package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir holds the files of named network namespaces.
//
// Source: ip-netns(8).
const Dir = "/run/netns"

// Prefix begins the name of every namespace that we make. We never touch others.
const Prefix = "substrate-"

// ErrName is the error for a name that does not begin with [Prefix] or is not [A-Za-z0-9_-]{1,80}.
var ErrName = errors.New("not a name for a network namespace")

// ErrForeign is the error for a file with such a name that we did not make.
var ErrForeign = errors.New("not made by substrate")

// maxStack is how many mounts [Unbind] removes from one file.
const maxStack = 16

// Bind gives the network namespace that is open as fd a name, the file /run/netns/NAME, as `ip
// netns add` does. The file keeps the namespace alive until [Unbind]. Bind makes /run/netns if it
// is missing. The error is [ErrName], or wraps [fs.ErrExist] if the name is taken. The caller needs
// CAP_SYS_ADMIN.
//
// Unlike ip-netns(8), Bind does not make /run/netns a shared mount, which would outlive the world.
// Unless /run is shared, a process in another mount namespace does not see the name.
func Bind(fd int, name string) error {
	path, err := file(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.Mkdir(Dir, 0o755); err == nil || errors.Is(err, fs.ErrExist) {
			f, err = os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
		}
	}
	if err != nil {
		return fmt.Errorf("name a network namespace: %w", err)
	}
	f.Close() //nolint:errcheck // nothing was written
	ns := "/proc/self/fd/" + strconv.Itoa(fd)
	if err := unix.Mount(ns, path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("bind %s to %s: %w", ns, path, err), Unbind(name))
	}
	return nil
}

// Unbind removes what [Bind] made, also what an interrupted Bind left. If there is nothing it
// returns nil. The namespace exists as long as it has processes. The error is [ErrName], or
// [ErrForeign] if the file is not empty or something else is mounted on it; then Unbind changes
// nothing.
func Unbind(name string) error {
	path, err := file(name)
	if err != nil {
		return err
	}
	for range maxStack {
		var st unix.Statfs_t
		err := statfs(path, &st)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("look at %s: %w", path, err)
		}
		if st.Type != unix.NSFS_MAGIC {
			return unlink(path)
		}
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	return fmt.Errorf("unmount %s: still mounted after %d times: %w", path, maxStack, ErrForeign)
}

// statfs is statfs(2) that does not follow a link at path.
func statfs(path string, st *unix.Statfs_t) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	return unix.Fstatfs(fd, st)
}

// unlink removes the file if it is one that Bind makes.
func unlink(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at %s: %w", path, err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !fi.Mode().IsRegular() || fi.Size() != 0 || fi.Mode().Perm() != 0 || !ok || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("remove %s: %w", path, ErrForeign)
	}
	if err := unix.Unlink(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// file returns the path of a namespace's file.
func file(name string) (string, error) {
	rest, ours := strings.CutPrefix(name, Prefix)
	if !ours || rest == "" || len(name) > 80 || strings.Trim(rest, nameBytes) != "" {
		return "", fmt.Errorf("%w: %q", ErrName, name)
	}
	return Dir + "/" + name, nil
}

const nameBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
