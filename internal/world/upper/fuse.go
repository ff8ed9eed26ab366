package upper

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/tree"
)

// In fuse-overlayfs a name is deleted if there is a character device 0/0 of that name or a file
// .wh.NAME. A directory is opaque if it has one of two attributes or one of two files. The program
// writes the form that the file system of the upper supports. It refuses to make names that begin
// with .wh. and does not show existing ones, so they are never a user's files. A third attribute,
// user.overlay.opaque, does not count: the command can set it, and the program always adds a file
// to it.
//
// Source: containers/fuse-overlayfs main.c, create_whiteout, is_directory_opaque,
// get_whiteout_name.
const (
	whiteoutName = ".wh."
	opaqueName   = ".wh..wh..opq"
	oldOpaque    = ".wh..opq"
)

// fuseOpaque are the attributes that make a directory opaque.
var fuseOpaque = []string{"trusted.overlay.opaque", "user.fuseoverlayfs.opaque"}

// fuseMarks are the prefixes of the attributes that fuse-overlayfs keeps for itself or hides.
var fuseMarks = []string{"trusted.overlay.", "user.overlay.", "user.fuseoverlayfs.", "user.containers."}

// fuseOrigin is set on a file that was copied up. Its value is the path in the lower.
const fuseOrigin = "user.fuseoverlayfs.origin"

// isFuse reports whether the layer has the marks of fuse-overlayfs.
func (l *layer) isFuse() bool { return l.Prefix == FusePrefix }

// fuseMarksOf reads the marks of an open directory of an upper.
func fuseMarksOf(d *tree.Dir) (m marks, err error) {
	x := tree.FileXattrs(d.FD)
	names, err := x.Names()
	if err != nil {
		return m, err
	}
	for _, name := range fuseOpaque {
		if !slices.Contains(names, name) {
			continue
		}
		v, err := x.Value(name)
		if err != nil {
			return m, err
		}
		m.opaque = m.opaque || v == "y"
	}
	for _, name := range []string{opaqueName, oldOpaque} {
		there, err := exists(d, name)
		if err != nil {
			return m, err
		}
		m.opaque = m.opaque || there
	}
	return m, nil
}

// exists reports whether a directory has an entry of that name.
func exists(d *tree.Dir, name string) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.FD, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENAMETOOLONG) {
		return false, nil
	}
	return err == nil, err
}

// fuseNames replaces the names of whiteout files by the names that they delete.
func fuseNames(names []string) []string {
	out := names[:0]
	whiteouts := map[string]bool{}
	for _, name := range names {
		if rest, marked := strings.CutPrefix(name, whiteoutName); !marked {
			out = append(out, name)
		} else if name != opaqueName && name != oldOpaque {
			whiteouts[rest] = true
		}
	}
	for _, name := range out {
		delete(whiteouts, name)
	}
	for name := range whiteouts {
		out = append(out, name)
	}
	return out
}

// isFuseWhiteout reports whether a directory of an upper has a file that marks name as deleted.
func isFuseWhiteout(d *tree.Dir, name string) (bool, error) { return exists(d, whiteoutName+name) }

// hiddenByFuse reports whether the program hides a name of the lower. It takes files with names of
// whiteouts for whiteouts there as well.
func hiddenByFuse(d *tree.Dir, name string) bool {
	if strings.HasPrefix(name, whiteoutName) {
		return true
	}
	gone, err := isFuseWhiteout(d, name)
	return gone && err == nil
}

// addFuseLinks adds the other names of a file that was changed. While it runs, the program keeps
// the names of a file together, but it copies up only one of them, and not always the one that was
// written to.
func (w *walker) addFuseLinks(j *job, v *view, now, before *tree.Node) {
	if before.Stat.Nlink < 2 || !v.same {
		return
	}
	copied, err := hasMark(now.Dir, now.Name, fuseOrigin)
	if err != nil {
		w.unknown(j, "/"+now.Name, err)
	}
	if !copied {
		return // a new file has taken its place
	}
	names, met, err := w.otherNames(j, v, before)
	if err != nil {
		w.unknown(j, "", err)
	}
	for _, name := range names {
		w.emit(j, "/"+name, fsdiff.Modify, now, before)
	}
	if rest := int(before.Stat.Nlink) - 1 - met; rest > 0 {
		w.Note("hard-links: %s has %d other names that change with it and are not listed", fsdiff.Escape(j.l.base+j.rel+"/"+now.Name), rest)
	}
}

// otherNames returns the names of the same file in this directory that the upper does not mention.
// met also counts those that it does mention.
func (w *walker) otherNames(j *job, v *view, before *tree.Node) (names []string, met int, err error) {
	listErr := v.was.Names(func(name string, ino uint64) {
		if ino != before.Stat.Ino || name == before.Name {
			return
		}
		met++
		there, err2 := exists(v.up, name)
		gone, err3 := isFuseWhiteout(v.up, name)
		err = errors.Join(err, err2, err3)
		if !there && !gone && !j.l.skip[j.l.base+j.rel+"/"+name] {
			names = append(names, name)
		}
	})
	return names, met, errors.Join(err, listErr)
}
