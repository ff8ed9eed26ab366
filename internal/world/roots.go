package world

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/world/worldfs"
)

// usableRoot returns the first of the candidates that exists or can be made, belongs to the
// caller, and is writable by nobody else. A symlink is never followed: /tmp/substrate-1000 could have been planted.
func usableRoot(what string, candidates []string, ok func(dir string) error) (string, error) {
	var errs []error
	for _, dir := range candidates {
		err := makeRoot(dir)
		if err == nil && ok != nil {
			err = ok(dir)
		}
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("find a directory for %s: %w", what, errors.Join(errs...))
}

// makeRoot makes dir, and checks it and those of its parents that are named for substrate.
func makeRoot(dir string) error {
	if checkOwned(dir) == nil {
		return nil
	}
	if parent := filepath.Dir(dir); strings.HasPrefix(filepath.Base(parent), "substrate") {
		if err := makeRoot(parent); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return checkOwned(dir)
}

// checkOwned says why dir is not the caller's own. Those of its parents that are named for substrate are looked at as well,
// or a symlink planted as /var/tmp/substrate-1000 would turn any directory of the caller's into a root.
func checkOwned(dir string) error {
	st, err := lstatDir(dir)
	switch {
	case err != nil:
		return err
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to uid %d", dir, st.Uid)
	case st.Mode&0o022 != 0:
		return fmt.Errorf("%s is writable by others (mode %04o)", dir, st.Mode&0o7777)
	}
	for p := filepath.Dir(dir); strings.HasPrefix(filepath.Base(p), "substrate"); p = filepath.Dir(p) {
		st, err := lstatDir(p)
		switch {
		case err != nil:
			return err
		case int(st.Uid) != os.Geteuid() && st.Uid != 0:
			return fmt.Errorf("%s belongs to uid %d", p, st.Uid)
		case st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0:
			return fmt.Errorf("%s is writable by others (mode %04o)", p, st.Mode&0o7777)
		}
	}
	return nil
}

// lstatDir is lstat for what must be a directory.
func lstatDir(dir string) (unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return st, &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return st, fmt.Errorf("%s is not a directory", dir)
	}
	return st, nil
}

// noUpper are file systems that the kernel does not take as an upper, or that are not this
// machine's own.
//
// Source: overlayfs.rst, "Upper and Lower"; statfs(2) for the numbers.
var noUpper = map[int64]string{
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.FUSE_SUPER_MAGIC:      "fuse",
	unix.V9FS_MAGIC:            "9p",
	unix.SMB2_SUPER_MAGIC:      "smb",
	unix.CIFS_SUPER_MAGIC:      "cifs",
	unix.ECRYPTFS_SUPER_MAGIC:  "ecryptfs",
	unix.CEPH_SUPER_MAGIC:      "ceph",
	unix.AFS_SUPER_MAGIC:       "afs",
	unix.MSDOS_SUPER_MAGIC:     "vfat",
	unix.EXFAT_SUPER_MAGIC:     "exfat",
}

// holdsUpper returns canHoldUpper for a caller.
func holdsUpper(root bool) func(dir string) error {
	return func(dir string) error {
		if err := canHoldUpper(dir); err != nil || root {
			return err
		}
		return worldfs.UserXattrs(dir)
	}
}

// canHoldUpper says why dir cannot hold an upper, by its file system.
func canHoldUpper(dir string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if name, bad := noUpper[st.Type]; bad {
		return &probe.Error{What: "keep uppers in " + dir, Err: fmt.Errorf("it is on %s, which cannot hold an upper", name)}
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return &probe.Error{What: "keep uppers in " + dir, Err: unix.EROFS}
	}
	return nil
}

// Place is a directory that may hold what worlds keep on the host.
type Place struct {
	Dir string
	Err error // why not; nil if it can be used. It is made if it was missing
}

// RunPlaces says of the candidates for the run-time root whether they can be used, up to the first that can.
func RunPlaces(d Dirs) []Place { return places(d.Run, nil) }

// OverlayPlaces says of the candidates for the uppers of the kernel's overlay whether they can be used, up to the first that can.
func OverlayPlaces(h Host) []Place { return places(h.Dirs.Overlay, holdsUpper(h.Root)) }

// CopyPlaces says of the candidates for copies and for what other strategies keep whether they can be used, up to the first that can.
func CopyPlaces(d Dirs) []Place { return places(d.Overlay, nil) }

func places(candidates []string, ok func(dir string) error) []Place {
	var out []Place
	for _, dir := range candidates {
		err := makeRoot(dir)
		if err == nil && ok != nil {
			err = ok(dir)
		}
		out = append(out, Place{dir, err})
		if err == nil {
			break
		}
	}
	return out
}
