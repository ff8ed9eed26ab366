package layout

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"substrate/internal/world/tree"

	"golang.org/x/sys/unix"
)

// Create makes the shadow directory: it copies the files, symlinks and fifos of the plan and makes
// the mount points. It leaves out what the host has removed since. Files share their blocks with
// the originals if the file system supports it. The caller has the rights with which the plan was
// made.
func (s *Shadow) Create() error {
	if err := os.Mkdir(s.Place, 0o700); err != nil {
		return fmt.Errorf("make shadow of %s: %w", s.Path, err)
	}
	for _, e := range s.Entries {
		source, place := filepath.Join(s.Path, e.Name), filepath.Join(s.Place, e.Name)
		err := createEntry(source, place, e)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("shadow of %s: %w", source, err)
		}
	}
	return setMeta(s.Path, s.Place, s.Stat)
}

// createEntry makes one entry of a shadow.
func createEntry(source, place string, e ShadowEntry) error {
	mode := e.Stat.Mode & 0o7777
	switch kind := e.Stat.Mode & unix.S_IFMT; {
	case e.Empty && kind == unix.S_IFDIR:
		if err := os.Mkdir(place, 0o700); err != nil {
			return err
		}
		return unix.Chmod(place, mode)
	case e.Empty:
		if err := unix.Mknod(place, unix.S_IFREG|0o600, 0); err != nil {
			return err
		}
		return unix.Chmod(place, mode)
	case kind == unix.S_IFLNK:
		text, err := os.Readlink(source)
		if err != nil {
			return err
		}
		if err := os.Symlink(text, place); err != nil {
			return err
		}
		return setTimes(place, e.Stat)
	case kind == unix.S_IFIFO:
		if err := unix.Mkfifo(place, 0o600); err != nil {
			return err
		}
		return setMeta(source, place, e.Stat)
	default:
		return copyFile(source, place)
	}
}

// Create makes the copy, with mode, owner, mtime and extended attributes as far as the caller may
// set them.
func (c Copy) Create() error {
	if err := copyFile(c.Path, c.Place); err != nil {
		return fmt.Errorf("copy %s: %w", c.Path, err)
	}
	return nil
}

// copyFile copies a regular file to a new name. If something else has taken its place, it returns
// an error.
func copyFile(source, place string) error {
	in, err := os.OpenFile(source, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("no longer a regular file: %w", os.ErrNotExist)
	}
	out, err := os.OpenFile(place, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	var c tree.Copier
	err = c.Copy(context.Background(), int(out.Fd()), int(in.Fd()), &st)
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return setMeta(source, place, Stat{
		Mode: st.Mode, UID: int(st.Uid), GID: int(st.Gid), MtimeSec: int64(st.Mtim.Sec), MtimeNsec: int64(st.Mtim.Nsec),
	})
}

// setMeta gives place the metadata st and the extended attributes of source. It leaves out owners
// and attributes that the caller may not set.
func setMeta(source, place string, st Stat) error {
	if err := os.Lchown(place, st.UID, st.GID); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	copyXattrs(source, place)
	if err := unix.Chmod(place, st.Mode&0o7777); err != nil { // after chown, which clears setuid
		return err
	}
	return setTimes(place, st)
}

// setTimes sets mtime and atime to the mtime of st.
func setTimes(place string, st Stat) error {
	mtime := unix.NsecToTimespec(st.MtimeSec*1e9 + st.MtimeNsec)
	return unix.UtimesNanoAt(unix.AT_FDCWD, place, []unix.Timespec{mtime, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}

// copyXattrs copies the extended attributes except those that the overlay would take for its marks.
func copyXattrs(source, place string) {
	x := tree.PathXattrs(source)
	names, err := x.Names()
	if err != nil {
		return // the file is shown without them
	}
	for _, name := range names {
		if strings.HasPrefix(name, "user.overlay.") || strings.HasPrefix(name, "trusted.") {
			continue
		}
		if value, err := x.Value(name); err == nil {
			_ = unix.Lsetxattr(place, name, []byte(value), 0) // the caller may not set every attribute
		}
	}
}
