// Package oracle finds out what changed in a tree by reading all of it, before and after.
//
// It is slow and simple on purpose. It shares no code with the packages that it checks: fsdiff,
// tree, upper and snapshot. It knows nothing of overlays and sees only what a command would see.
package oracle

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// File is the state of one path.
type File struct {
	Type    string // as in fs_diff: file, dir, symlink …
	Mode    uint32 // permission bits with setuid, setgid and sticky
	UID     uint32
	GID     uint32
	Size    int64 // of a regular file or symlink, else 0
	Mtime   time.Time
	Target  string
	Rdev    uint64
	Content [sha256.Size]byte
	Xattrs  string
	Links   uint64 // number of names; not part of the state
}

// Tree is all paths below a directory, relative to it. "." is the directory itself.
type Tree map[string]File

// Look reads a whole tree.
func Look(root string) (Tree, error) {
	t := make(Tree)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f, err := look(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // listed but not reachable: a command cannot see it either
		}
		t[rel] = f
		return err
	})
	return t, err
}

func look(path string) (File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return File{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	f := File{Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Mtime: info.ModTime(), Links: uint64(st.Nlink)}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		content, err := os.ReadFile(path)
		if err != nil {
			return f, err
		}
		f.Type, f.Size, f.Content = "file", info.Size(), sha256.Sum256(content)
	case mode.IsDir():
		f.Type = "dir"
	case mode&os.ModeSymlink != 0:
		f.Type, f.Size = "symlink", info.Size()
		if f.Target, err = os.Readlink(path); err != nil {
			return f, err
		}
	case mode&os.ModeNamedPipe != 0:
		f.Type = "fifo"
	case mode&os.ModeSocket != 0:
		f.Type = "socket"
	case mode&os.ModeCharDevice != 0:
		f.Type, f.Rdev = "char", st.Rdev
	default:
		f.Type, f.Rdev = "block", st.Rdev
	}
	f.Xattrs, err = attributes(path)
	return f, err
}

// attributes returns the extended attributes.
func attributes(path string) (string, error) {
	list := make([]byte, 8192)
	n, err := unix.Llistxattr(path, list)
	if errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("listxattr %s: %w", path, err)
	}
	var all []string
	for name := range strings.SplitSeq(string(list[:n]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 8192)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("getxattr %s %s: %w", path, name, err)
		}
		all = append(all, fmt.Sprintf("%q=%q", name, value[:n]))
	}
	slices.Sort(all)
	return strings.Join(all, " "), nil
}

// Change is one difference.
type Change struct {
	Path   string // relative to the root
	Kind   string // as in fs_diff: create, modify, delete, type_change
	Before *File  // nil for a create
	After  *File  // nil for a delete
}

// Compare returns the differences between two trees, sorted by path. The time of a directory does
// not count.
func Compare(before, after Tree) []Change {
	paths := maps.Clone(before)
	maps.Copy(paths, after)
	var changes []Change
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		old, had := before[path]
		now, has := after[path]
		switch {
		case !had:
			changes = append(changes, Change{path, "create", nil, &now})
		case !has:
			changes = append(changes, Change{path, "delete", &old, nil})
		case old.Type != now.Type:
			changes = append(changes, Change{path, "type_change", &old, &now})
		case differs(old, now):
			changes = append(changes, Change{path, "modify", &old, &now})
		}
	}
	return changes
}

func differs(a, b File) bool {
	a.Links, b.Links = 0, 0
	if a.Type == "dir" {
		a.Mtime, b.Mtime = time.Time{}, time.Time{}
	}
	if !a.Mtime.Equal(b.Mtime) {
		return true
	}
	a.Mtime, b.Mtime = time.Time{}, time.Time{}
	return a != b
}
