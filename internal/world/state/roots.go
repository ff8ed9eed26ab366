package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/world/tree"
)

// Place is a directory that may hold what worlds keep on the host.
type Place struct {
	Dir string
	Err error // why not; nil if it can be used. It is made if it was missing
}

// RunPlaces checks the candidates for the run-time root, up to the first usable one.
func RunPlaces(d Dirs) []Place { return places(d.Run, nil) }

// UpperPlaces checks the candidates for the uppers of the kernel's overlay, up to the first usable
// one. root is true for a caller with a root's capabilities.
func UpperPlaces(d Dirs, root bool) []Place { return places(d.Overlay, HoldsUpper(root)) }

// CopyPlaces checks the candidates for copies and for what other strategies keep, up to the first
// usable one.
func CopyPlaces(d Dirs) []Place { return places(d.Overlay, nil) }

// places checks directories until one is usable: it exists or can be made, belongs to the caller,
// is writable by nobody else, and ok, unless nil, gives no error. A symlink is never followed:
// /tmp/substrate-1000 could have been planted.
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

// UsableRoot returns the first of the candidates that is a usable [Place] and about which ok,
// unless nil, has no error. what is for the error.
func UsableRoot(what string, candidates []string, ok func(dir string) error) (string, error) {
	var errs []error
	for _, p := range places(candidates, ok) {
		if p.Err == nil {
			return p.Dir, nil
		}
		errs = append(errs, p.Err)
	}
	return "", fmt.Errorf("find a directory for %s: %w", what, errors.Join(errs...))
}

// RunRoot returns the first usable of the run-time roots.
func RunRoot(d Dirs) (string, error) { return UsableRoot("the state of worlds", d.Run, nil) }

// Worlds makes the directory of all state directories below a run-time root.
func Worlds(run string) (string, error) {
	worlds := filepath.Join(run, "worlds")
	return worlds, makeRoot(worlds)
}

// makeRoot makes dir, and checks it and those of its parents whose names begin with substrate.
func makeRoot(dir string) error {
	if CheckOwned(dir) == nil {
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
	return CheckOwned(dir)
}

// CheckOwned reports why dir is not the caller's own directory. It also checks the parents whose
// names begin with substrate: a symlink planted as /var/tmp/substrate-1000 would otherwise turn any
// directory of the caller's into a root.
func CheckOwned(dir string) error {
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

// noUpper are file systems that the kernel does not take as an upper, or that are not on this
// machine.
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

// HoldsUpper returns a function that reports why a directory cannot hold an upper of the kernel's
// overlay.
func HoldsUpper(root bool) func(dir string) error {
	return func(dir string) error {
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
		if root {
			return nil
		}
		return tree.UserXattrs(dir)
	}
}
