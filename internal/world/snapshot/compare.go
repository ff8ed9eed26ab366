package snapshot

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/tree"
)

// Compare adds to b what was changed in the copy since it was made, with the paths of the original.
// It returns how many entries the copy had and has, and notes for the user. The error is about a
// copy that cannot be read; b has what could be compared all the same.
//
// It looks at the metadata of every entry. It reads contents only if a file was changed but has its
// old size and time; for that it needs the original. If the original was changed as well, the file
// is listed, with a note. Nothing may write to the copy meanwhile.
func (s *Snapshot) Compare(b *fsdiff.Builder) (before, after int, notes []string, err error) {
	c := &comparer{Findings: tree.NewFindings(b), s: s, base: strings.TrimRight(s.Src, "/")}
	c.queue = tree.NewQueue(runtime.GOMAXPROCS(0), 1, c.compare)
	top, st, err := tree.OpenUpperRoot(s.Dst)
	if err != nil {
		return s.Entries, 0, nil, fmt.Errorf("compare the copy: %w", err)
	}
	if c.dirChanged(s.root, &st, tree.FileXattrs(top.FD)) {
		c.emit("", fsdiff.Modify, c.meta("", top, ".", &st), s.root)
	}
	c.queue.Run(compareTask{now: top, open: true, was: s.root})
	notes, err = c.Result()
	return s.Entries, int(c.after.Load()), notes, err
}

// comparer is one call of Compare.
type comparer struct {
	*tree.Findings
	s     *Snapshot
	base  string
	after atomic.Int64
	queue *tree.Queue[compareTask]
}

// compareTask is a path that is a directory, was one, or both. If pairs is set, it is some of the
// names in it.
type compareTask struct {
	rel   string      // "" for the root
	now   *tree.Dir   // the directory that holds it, or with open the directory itself; nil if it is no directory now
	st    unix.Stat_t // of the directory
	open  bool
	was   *entry // nil if it was no directory
	pairs []pair
}

// pair is a name in a directory: whether it is there now, and what it was.
type pair struct {
	name string
	is   bool
	was  *entry // nil if it did not exist
}

// compare compares the names in a directory.
func (c *comparer) compare(t compareTask) {
	if t.pairs != nil {
		defer tree.Release(t.now)
		for _, p := range t.pairs {
			c.path(t.rel, t.now, p)
		}
		return
	}
	now := t.now
	if now != nil && !t.open {
		d, err := tree.OpenUpper(now, path.Base(t.rel), &t.st)
		tree.Release(now)
		if err != nil {
			c.fail(t.rel, err)
			return
		}
		now = d
	}
	defer tree.Release(now)
	names, err := tree.SortedNames(now)
	if err != nil {
		c.fail(t.rel, err)
		return
	}
	c.after.Add(int64(len(names)))
	var was []entry
	if t.was != nil && t.was.rec != nil {
		was = t.was.rec.entries
	}
	for part := range slices.Chunk(merge(names, was), tree.Portion) {
		c.queue.Add(compareTask{rel: t.rel, now: now.Hold(), pairs: part})
	}
}

// merge joins two sorted lists.
func merge(names []string, was []entry) []pair {
	pairs := make([]pair, 0, max(len(names), len(was)))
	for len(names) > 0 || len(was) > 0 {
		switch {
		case len(was) == 0 || len(names) > 0 && names[0] < was[0].name:
			pairs = append(pairs, pair{names[0], true, nil})
			names = names[1:]
		case len(names) == 0 || was[0].name < names[0]:
			pairs = append(pairs, pair{was[0].name, false, &was[0]})
			was = was[1:]
		default:
			pairs = append(pairs, pair{was[0].name, true, &was[0]})
			names, was = names[1:], was[1:]
		}
	}
	return pairs
}

// path compares one name in the directory d.
func (c *comparer) path(parent string, d *tree.Dir, p pair) {
	name, was := p.name, p.was
	rel := parent + "/" + name
	var st unix.Stat_t
	if p.is {
		if err := unix.Fstatat(d.FD, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			c.fail(rel, err)
			return
		}
	}
	isDir := p.is && st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case !p.is:
		c.emit(rel, fsdiff.Delete, was.meta(), was)
	case was == nil:
		c.emit(rel, fsdiff.Create, c.meta(rel, d, name, &st), nil)
	case st.Mode&unix.S_IFMT != was.format():
		c.emit(rel, fsdiff.TypeChange, c.meta(rel, d, name, &st), was)
	case was.extra != nil && was.extra.foreign && st.Ino == was.ino:
		return // the copy does not have what is in it
	case isDir:
		if c.dirChanged(was, &st, tree.NamedXattrs(d, name)) {
			c.emit(rel, fsdiff.Modify, c.meta(rel, d, name, &st), was)
		}
	default:
		if c.changed(rel, d, name, &st, was) {
			c.emit(rel, fsdiff.Modify, c.meta(rel, d, name, &st), was)
		}
		return
	}
	next := compareTask{rel: rel, st: st}
	if isDir {
		next.now = d.Hold()
	}
	if was.isDir() {
		next.was = was
	}
	if next.now != nil || next.was != nil {
		c.queue.Add(next)
	}
}

// dirChanged compares the mode, owner and attributes of a directory.
func (c *comparer) dirChanged(was *entry, st *unix.Stat_t, x tree.Xattrs) bool {
	if c.s.times && st.Ino == was.ino && st.Ctim.Nano() == was.ctime {
		return false
	}
	before := was.stat()
	return tree.OwnerDiffers(st, &before) || c.xattrsDiffer(was, x)
}

// xattrsDiffer compares attributes. If they cannot be read, it adds a note and returns false.
func (c *comparer) xattrsDiffer(was *entry, x tree.Xattrs) bool {
	set, err := tree.XattrSet(x, nil)
	if err != nil {
		c.Note("the extended attributes of %s cannot be read: %v", fsdiff.Escape(was.name), err)
		return false
	}
	return set != was.xattrs()
}

// changed compares two files of the same type that are no directories.
func (c *comparer) changed(rel string, d *tree.Dir, name string, st *unix.Stat_t, was *entry) bool {
	if c.s.times && st.Ino == was.ino && st.Ctim.Nano() == was.ctime {
		return false
	}
	unread := was.extra != nil && was.extra.unread
	before := was.stat()
	if unread {
		before.Size = st.Size
	}
	if tree.Differ(st, &before) {
		return true
	}
	if was.format() == unix.S_IFLNK {
		if target, err := tree.ReadLink(d.FD, name); err != nil || target != was.extra.target {
			return true
		}
	}
	if c.xattrsDiffer(was, tree.NamedXattrs(d, name)) {
		return true
	}
	if unread {
		return st.Size > 0
	}
	return was.format() == unix.S_IFREG && st.Size > 0 && c.contentDiffers(rel, &tree.Node{Dir: d, Name: name, Stat: *st, Upper: true}, was)
}

// contentDiffers compares a file of the copy with its original.
func (c *comparer) contentDiffers(rel string, now *tree.Node, was *entry) bool {
	from, err := c.openOriginal(rel, was)
	if err != nil {
		c.Note("%s is listed because its original cannot be compared: %v", fsdiff.Escape(c.base+rel), err)
		return true
	}
	defer unix.Close(from)
	fd, err := now.Open()
	if err != nil {
		c.fail(rel, err)
		return false
	}
	defer unix.Close(fd)
	same, err := tree.SameContent(fd, from, was.size)
	if err != nil {
		c.fail(rel, err)
		return false
	}
	return !same
}

var errOriginalChanged = errors.New("it changed in the meantime")

// openOriginal opens the original of a file. The error is errOriginalChanged if the original was
// changed since it was copied.
func (c *comparer) openOriginal(rel string, was *entry) (int, error) {
	d, err := c.s.src.Hold(), error(nil)
	if parent := path.Dir(rel); parent != "/" {
		tree.Release(d)
		d, err = tree.OpenLowerPath(c.s.src, parent)
	}
	if d == nil && err == nil {
		err = unix.ENOENT
	}
	if err != nil {
		return -1, err
	}
	defer tree.Release(d)
	fd, err := openSource(d.FD, was.name, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Ctim.Nano() != was.original || st.Size != was.size) {
		err = errOriginalChanged
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// meta returns the description of a file of the copy.
func (c *comparer) meta(rel string, d *tree.Dir, name string, st *unix.Stat_t) fsdiff.Meta {
	target := ""
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		var err error
		if target, err = tree.ReadLink(d.FD, name); err != nil {
			c.fail(rel, err)
		}
	}
	return tree.Meta(st, target)
}

// emit adds a change.
func (c *comparer) emit(rel string, kind fsdiff.Kind, m fsdiff.Meta, was *entry) {
	var before *fsdiff.Meta
	if was != nil {
		old := was.meta()
		before = &old
	}
	c.Change(c.base+rel, kind, m, before)
}

// fail adds an error about the copy.
func (c *comparer) fail(rel string, err error) {
	c.Fail(fmt.Errorf("compare the copy of %s: %w", fsdiff.Escape(c.base+rel), err))
}
