package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/internal/hostfile"
	"substrate/internal/plain"
)

// draft begins the names of files before they are renamed, as in [hostfile.Replace].
const draft = ".new-"

// fill makes the links of s in dir, then the metadata, and last the stamp, without which a
// deployment does not count. At every moment a search for a program finds the old link or the new
// one.
func (s *site) fill(dir string, m metadata) error {
	if err := removeIfThere(filepath.Join(dir, plain.StampName)); err != nil {
		return err
	}
	for _, name := range s.want {
		if err := s.link(dir, name); err != nil {
			return err
		}
	}
	if err := s.removeStale(dir); err != nil {
		return err
	}
	text, err := m.text()
	if err != nil {
		return err
	}
	if err := hostfile.Replace(filepath.Join(dir, plain.MetadataName), text, 0o600); err != nil {
		return err
	}
	return s.writeStamp(dir)
}

// link makes dir/name a link to the shim. If something other than a link is there, it is the user's
// and gets another name.
func (s *site) link(dir, name string) error {
	path := filepath.Join(dir, name)
	if have, err := os.Readlink(path); err == nil && have == s.bin.Path {
		return nil
	}
	if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSymlink == 0 {
		if err := moveAside(path, dir); err != nil {
			return err
		}
	}
	return replaceLink(path, s.bin.Path)
}

// writeStamp writes the stamp, with which a command finds the deployment quickly. There is none if
// the path is too long for a symbolic link: then each command reads the metadata.
func (s *site) writeStamp(dir string) error {
	err := replaceLink(filepath.Join(dir, plain.StampName), s.bin.stamp())
	if errors.Is(err, unix.ENAMETOOLONG) {
		return nil
	}
	return err
}

// removeStale removes links of ours that are no longer wanted.
func (s *site) removeStale(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if name == plain.MetadataName || name == plain.StampName || slices.Contains(s.want, name) || !s.isOurs(dir, name) {
			continue
		}
		if err := removeIfThere(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// isOurs reports whether we made dir/name and can make it again: our own files, links to a
// substrate-shim, and links with the name of a command that we deployed, wherever they lead.
// Everything else is the user's.
func (s *site) isOurs(dir, name string) bool {
	if name == plain.MetadataName || name == plain.StampName || strings.HasPrefix(name, draft) {
		return true
	}
	target, err := os.Readlink(filepath.Join(dir, name))
	return err == nil && (filepath.Base(target) == plain.ShimProgram || slices.Contains(s.known, name))
}

// onlyOurs reports whether dir holds nothing of the user's.
func (s *site) onlyOurs(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return !s.isOurs(dir, e.Name()) })
}

// retire removes the directory old after another one replaced it. The user's files in it move to
// the new directory.
func (s *site) retire(old string) error {
	entries, err := os.ReadDir(old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(old, e.Name())
		if s.isOurs(old, e.Name()) {
			err = removeIfThere(path)
		} else {
			err = moveAside(path, s.dir)
		}
		if err != nil {
			return err
		}
	}
	return os.Remove(old)
}

// moveAside renames path to a free name in dir: its own, NAME.orig, NAME.orig2 and so on.
func moveAside(path, dir string) error {
	base := filepath.Join(dir, filepath.Base(path))
	for n := range 1000 {
		name := base
		switch n {
		case 0:
			if name == path {
				continue
			}
		case 1:
			name += ".orig"
		default:
			name += ".orig" + strconv.Itoa(n)
		}
		err := renameNew(path, name)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("move %s aside: all names are taken", path)
}

// renameNew renames path to name. The error wraps fs.ErrExist if name exists.
//
// Source: rename(2), RENAME_NOREPLACE, which some file systems refuse with EINVAL.
func renameNew(path, name string) error {
	err := unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		if _, statErr := os.Lstat(name); statErr == nil {
			err = unix.EEXIST
		} else {
			err = unix.Rename(path, name)
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: path, New: name, Err: err}
	}
	return nil
}

// replaceLink makes path a symbolic link to target in one step.
func replaceLink(path, target string) error {
	err := os.Symlink(target, path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	beside := filepath.Join(filepath.Dir(path), draft+filepath.Base(path))
	if err := removeIfThere(beside); err != nil {
		return err
	}
	if err := os.Symlink(target, beside); err != nil {
		return err
	}
	return os.Rename(beside, path)
}

// removeIfThere removes a file or an empty directory.
func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
