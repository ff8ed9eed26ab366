package upper

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/internal/world/tree"
)

// isDeviceWhiteout reports whether the file is the character device 0/0.
func isDeviceWhiteout(n *tree.Node) bool { return n.Format() == unix.S_IFCHR && n.Stat.Rdev == 0 }

// isWhiteout reports whether an entry of the upper marks its name as deleted.
//
// Source: overlayfs.rst, "Whiteouts and opaque directories".
func isWhiteout(n *tree.Node, prefix string) (bool, error) {
	if n.Format() == unix.S_IFREG && n.Stat.Size == 0 {
		return hasMark(n.Dir, n.Name, prefix+"whiteout")
	}
	return isDeviceWhiteout(n), nil
}

// isMark reports whether an overlay with marks of this prefix keeps the attribute for itself. If
// the command sets an attribute with such a name, the kernel inserts a second "overlay.".
//
// Source: overlayfs.rst, "Nesting overlayfs mounts".
func isMark(name, prefix string) bool {
	if prefix == FusePrefix {
		return slices.ContainsFunc(fuseMarks, func(mark string) bool { return strings.HasPrefix(name, mark) })
	}
	rest, marked := strings.CutPrefix(name, prefix)
	return marked && !strings.HasPrefix(rest, "overlay.")
}

// marks are the overlay's notes on a directory of the upper.
type marks struct {
	opaque   bool   // it hides the directory of the lower
	redirect string // the lower directory that it is merged with: a name in the same directory, or "/" and a path from the root of the lower
}

// marksOf reads the marks of an open directory of an upper.
func (l *layer) marksOf(d *tree.Dir) (marks, error) {
	if l.isFuse() {
		return fuseMarksOf(d)
	}
	return marksOf(tree.FileXattrs(d.FD), l.Prefix)
}

// marksOf reads the marks of the kernel's overlay.
//
// Source: overlayfs.rst, "Whiteouts and opaque directories", "redirect_dir".
func marksOf(x tree.Xattrs, prefix string) (m marks, err error) {
	names, err := x.Names()
	if err != nil {
		return m, err
	}
	if slices.Contains(names, prefix+"opaque") {
		v, err := x.Value(prefix + "opaque")
		if err != nil {
			return m, err
		}
		m.opaque = v == "y" // "x" only means that there are whiteouts in the form of attributes
	}
	if !m.opaque && slices.Contains(names, prefix+"redirect") {
		m.redirect, err = x.Value(prefix + "redirect")
	}
	return m, err
}

// hasMark reports whether a file has a mark that needs no value.
func hasMark(d *tree.Dir, name, mark string) (bool, error) {
	names, err := tree.NamedXattrs(d, name).Names()
	return slices.Contains(names, mark), err
}
