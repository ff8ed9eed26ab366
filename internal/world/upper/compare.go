package upper

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/tree"
)

// dirChanged compares the mode, owner and attributes of a directory. Its time does not count,
// because it changes with the entries.
func (w *walker) dirChanged(j *job, v *view) bool {
	a, b := &j.now.Stat, &j.before.Stat
	if tree.OwnerDiffers(a, b) {
		return true
	}
	now := v.up
	if !j.now.Upper {
		now = v.low
	}
	if now == nil || v.was == nil || now == v.was {
		return false // the same directory, or one that could not be opened
	}
	// By name, because the caller may have a directory of the lower open without the right to read
	// it.
	return w.xattrsDiffer(j, "", tree.NamedXattrs(now, "."), tree.NamedXattrs(v.was, "."))
}

// changed compares two files of the same type. Neither is a directory.
func (w *walker) changed(j *job, v *view, now, before *tree.Node) bool {
	a, b := &now.Stat, &before.Stat
	if !now.Upper && a.Dev == b.Dev && a.Ino == b.Ino {
		return false
	}
	if tree.Differ(a, b) {
		return true
	}
	if now.Format() == unix.S_IFLNK && w.target(j, now) != w.target(j, before) {
		return true
	}
	if w.xattrsDiffer(j, "/"+before.Name, tree.NamedXattrs(now.Dir, now.Name), tree.NamedXattrs(before.Dir, before.Name)) {
		return true
	}
	return now.Format() == unix.S_IFREG && a.Size > 0 && w.contentDiffers(j, v, now, before)
}

// xattrsDiffer compares attributes. If they cannot be read, it adds a note and returns false.
func (w *walker) xattrsDiffer(j *job, name string, now, before tree.Xattrs) bool {
	skip := func(name string) bool { return isMark(name, j.l.Prefix) }
	a, err := tree.XattrSet(now, skip)
	b, err2 := tree.XattrSet(before, skip)
	if err := errors.Join(err, err2); err != nil {
		w.unknown(j, name, err)
		return false
	}
	return a != b
}

// contentDiffers compares the bytes of two regular files of the same size. If they cannot be read,
// it adds a note and returns false, because size and time are the same.
func (w *walker) contentDiffers(j *job, v *view, now, before *tree.Node) bool {
	if now.Upper {
		now = w.data(j, v, now, before)
		if now == nil || !now.Upper && now.Stat.Dev == before.Stat.Dev && now.Stat.Ino == before.Stat.Ino {
			return false
		}
	}
	same, err := sameNodes(now, before)
	if err != nil {
		w.unknown(j, "/"+before.Name, err)
		return false
	}
	return !same
}

// sameNodes reports whether two files of the same size have the same content.
func sameNodes(a, b *tree.Node) (bool, error) {
	fdA, err := a.Open()
	if err != nil {
		return false, err
	}
	defer unix.Close(fdA)
	fdB, err := b.Open()
	if err != nil {
		return false, err
	}
	defer unix.Close(fdB)
	return tree.SameContent(fdA, fdB, a.Stat.Size)
}

// data returns the file that holds the content of an entry of the upper. This is the entry itself,
// or a file of the lower if the entry has only metadata. It returns nil if that file is not found.
//
// Source: overlayfs.rst, "Metadata only copy up".
func (w *walker) data(j *job, v *view, n, before *tree.Node) *tree.Node {
	x := tree.NamedXattrs(n.Dir, n.Name)
	names, err := x.Names()
	if err != nil || !slices.Contains(names, j.l.Prefix+"metacopy") {
		return n
	}
	redirect, err := x.Value(j.l.Prefix + "redirect")
	if err != nil {
		w.unknown(j, "/"+before.Name, err)
		return nil
	}
	d, name := v.low, n.Name
	if dirname, base, found := strings.Cut(redirect, "/"); found && dirname == "" {
		cut := strings.LastIndexByte(base, '/')
		name = base[cut+1:]
		if d = j.l.root; cut >= 0 {
			if d, err = tree.OpenLowerPath(j.l.root, base[:cut]); err != nil || d == nil {
				return nil
			}
			defer tree.Release(d)
		}
	} else if redirect != "" {
		name = redirect
	}
	lower := w.lowerNode(j, d, name)
	if lower != nil && lower.Stat.Dev == before.Stat.Dev && lower.Stat.Ino == before.Stat.Ino {
		return before
	}
	return lower
}

// meta returns the description of a file for the diff.
func (w *walker) meta(j *job, n *tree.Node) fsdiff.Meta {
	target := ""
	if n.Format() == unix.S_IFLNK {
		target = w.target(j, n)
	}
	return tree.Meta(&n.Stat, target)
}

// target returns the target of a symlink.
func (w *walker) target(j *job, n *tree.Node) string {
	target, err := tree.ReadLink(n.Dir.FD, n.Name)
	if err != nil {
		w.unknown(j, "/"+n.Name, err)
	}
	return target
}
