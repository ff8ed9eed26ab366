package upper

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/tree"
)

// fuse-overlayfs takes a name for deleted if there is a character device 0/0 of that name or a file .wh.NAME, and a directory for
// opaque if it has one of three attributes or one of two files. It writes what the file system of the upper takes. It refuses to make names that begin with
// .wh., and does not show those that were there, so none of them is ever a user's file. Of the attributes the command can set user.overlay.opaque,
// beside which the program itself always puts a file, so that one is no mark.
//
// Source: containers/fuse-overlayfs main.c, create_whiteout, is_directory_opaque, get_whiteout_name.
const (
	whiteoutName = ".wh."
	opaqueName   = ".wh..wh..opq"
	oldOpaque    = ".wh..opq"
)

// fuseOpaque are the attributes that make a directory opaque.
var fuseOpaque = []string{"trusted.overlay.opaque", "user.fuseoverlayfs.opaque"}

// fuseMarks are the beginnings of the attributes that fuse-overlayfs keeps for itself, or at least does not show.
var fuseMarks = []string{"trusted.overlay.", "user.overlay.", "user.fuseoverlayfs.", "user.containers."}

// fuseOrigin is on a file that was copied up; its value is the path in the lower.
const fuseOrigin = "user.fuseoverlayfs.origin"

// isFuse says whether the marks of the layer are those of fuse-overlayfs.
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

// exists says whether a directory has a name.
func exists(d *tree.Dir, name string) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.FD, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENAMETOOLONG) {
		return false, nil
	}
	return err == nil, err
}

// fuseNames turns the names of a directory of an upper into those that they stand for.
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

// isFuseWhiteout says whether a directory of an upper has a file that says that name is deleted.
func isFuseWhiteout(d *tree.Dir, name string) (bool, error) { return exists(d, whiteoutName+name) }

// hiddenByFuse says whether the program does not show a name of the lower: it takes files of such names for whiteouts there as well.
func hiddenByFuse(d *tree.Dir, name string) bool {
	if strings.HasPrefix(name, whiteoutName) {
		return true
	}
	gone, err := isFuseWhiteout(d, name)
	return gone && err == nil
}

// sawFuseCopy adds the other names of a file that was changed. The program keeps the names of a file together while it runs, but
// copies up only one of them, not always the one that was written to.
func (w *walker) sawFuseCopy(j *job, v *view, now, before *tree.Node) {
	if before.Stat.Nlink < 2 || !v.same {
		return
	}
	copied, err := hasMark(now.Dir, now.Name, fuseOrigin)
	if err != nil {
		w.unknown(j, "/"+now.Name, err)
	}
	if !copied {
		return // another file in its place
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

// otherNames returns the names beside before, of the same file, of which the upper says nothing, and how many there are with those
// of which it does.
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
