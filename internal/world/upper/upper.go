// Package upper finds out what a command changed in an overlay.
//
// An overlay keeps what is written in a directory of its own, the upper, over the directory that it
// covers, the lower. A deleted file leaves a whiteout in the upper, a directory that was made anew
// is marked opaque, and a renamed one has a redirect. [Walk] turns that into a list of changes. It
// reads the marks of the kernel's overlay and those of fuse-overlayfs.
package upper

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/tree"
)

// The prefixes of the extended attributes in which the kernel's overlay keeps its marks.
//
// Source: Linux Documentation/filesystems/overlayfs.rst, "User xattr".
const (
	TrustedPrefix = "trusted.overlay."
	UserPrefix    = "user.overlay." // mounted with userxattr, the only form in a user namespace

	// FusePrefix stands for all forms of the marks of fuse-overlayfs. Most of them are no
	// attributes.
	FusePrefix = "user.fuseoverlayfs."
)

// Upper is one overlay of a world after its command has ended. The overlay has exactly one lower.
type Upper struct {
	Dir    string     // host path of the upper directory; may be /proc/self/fd/N
	Lower  string     // host path of the directory that it covers
	Path   string     // absolute path of the mount point inside the world
	Prefix string     // TrustedPrefix, UserPrefix or FusePrefix
	Start  *RootState // the state that Dir got when it was made, which is no change; nil: that of Lower
	Index  string     // host path of the index directory (work/index) if mounted with index=on, else ""
	Skip   []string   // absolute paths inside the world; neither they nor anything below them is reported
}

// RootState is the metadata of the upper directory itself. The world shows it at the mount point.
type RootState struct {
	Mode   uint32 `json:"mode"` // permission bits with setuid, setgid and sticky
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Xattrs string `json:"xattrs,omitempty"` // names and values in a form of our own; no security labels, which the host's policy sets on any directory
}

// ReadRootState returns the state of an upper directory, for [Upper.Start]. prefix is as in Upper.
func ReadRootState(dir, prefix string) (*RootState, error) {
	d, st, err := tree.OpenUpperRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open upper: %w", err)
	}
	defer tree.Release(d)
	return rootStateOf(d, &st, prefix)
}

// rootStateOf is ReadRootState for an open directory.
func rootStateOf(d *tree.Dir, st *unix.Stat_t, prefix string) (*RootState, error) {
	set, err := tree.XattrSet(tree.FileXattrs(d.FD), func(name string) bool {
		return isMark(name, prefix) || strings.HasPrefix(name, "security.")
	})
	if err != nil {
		return nil, fmt.Errorf("read attributes of upper: %w", err)
	}
	return &RootState{Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Xattrs: set}, nil
}

// Walk adds to b what the command changed in the overlays. It returns the number of entries in all
// uppers, and notes for the user about what could not be read or is not listed. The error is about
// an upper that cannot be read; the changes in the others are added all the same.
//
// It compares each entry with the lower, because an entry need not be a change: the kernel copies a
// file up when it is opened for writing, or touched or chmodded without effect. The cost depends on
// what changed, not on the size of the tree. Nothing else may write to the uppers meanwhile. The
// caller must be root, or own all uppers. If the owner of a directory of an upper may not read it,
// Walk changes its mode while it looks at it.
//
// Source: Linux Documentation/filesystems/overlayfs.rst, "Whiteouts and opaque directories",
// "Renaming directories", "Inode properties".
func Walk(uppers []Upper, b *fsdiff.Builder) (entries int, notes []string, err error) {
	w := newWalker(b)
	var layers []*layer
	for i := range uppers {
		l, openErr := w.openLayer(&uppers[i], uppers)
		if openErr != nil {
			err = errors.Join(err, openErr)
			continue
		}
		layers = append(layers, l)
	}
	w.queue.Run()
	for _, l := range layers {
		w.noteLinks(l)
		closeLayer(l)
	}
	notes, walkErr := w.Result()
	return int(w.entries.Load()), notes, errors.Join(err, walkErr)
}

// layer is an Upper during a walk.
type layer struct {
	*Upper
	base  string          // Path without a slash at the end: "" for "/"
	skip  map[string]bool // Skip and the mount points of the other overlays
	root  *tree.Dir       // the lower; nil if it cannot be read
	links *links          // nil without an index, or if it is empty
}

// openLayer opens an overlay and adds its root to the queue.
func (w *walker) openLayer(u *Upper, all []Upper) (*layer, error) {
	l := &layer{Upper: u, base: strings.TrimRight(u.Path, "/")}
	for _, p := range u.Skip {
		if strings.TrimRight(p, "/") == l.base && l.base != "" {
			return l, nil
		}
	}
	up, st, err := tree.OpenUpperRoot(u.Dir)
	if err != nil {
		return nil, fmt.Errorf("open upper of %s: %w", u.Path, err)
	}
	if isUntouched(u, up, &st) {
		tree.Release(up)
		return l, nil
	}
	l.skip = make(map[string]bool, len(u.Skip)+len(all))
	for _, p := range u.Skip {
		l.skip[strings.TrimRight(p, "/")] = true
	}
	for i := range all {
		if other := strings.TrimRight(all[i].Path, "/"); other != l.base {
			l.skip[other] = true
		}
	}
	if l.root, err = tree.Open(u.Lower); err != nil {
		w.Note("the earlier contents of %s are unknown: %v", u.Path, err)
	}
	if l.links, err = openLinks(u.Index); err != nil {
		w.Note("hard links in %s are not followed: %v", u.Path, err)
	}
	if err := w.pushRoot(l, up, &st); err != nil {
		tree.Release(up)
		closeLayer(l)
		return nil, fmt.Errorf("stat upper of %s: %w", u.Path, err)
	}
	return l, nil
}

// isUntouched reports whether nothing at all changed in an overlay, which is the most common case:
// the upper is empty and has its first state. Without an entry there is no hard link to look up
// either.
func isUntouched(u *Upper, up *tree.Dir, st *unix.Stat_t) bool {
	if u.Start == nil || !up.IsEmpty() {
		return false
	}
	state, err := rootStateOf(up, st, u.Prefix)
	return err == nil && *state == *u.Start
}

// closeLayer releases the lower and the index.
func closeLayer(l *layer) {
	tree.Release(l.root)
	if l.links != nil {
		tree.Release(l.links.dir)
	}
}
