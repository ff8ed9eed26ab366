package snapshot

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"substrate/internal/world/tree"
)

// dirPair is a directory of the tree and its copy. Both are open until all their entries are
// copied.
type dirPair struct {
	parent *dirPair // nil for the root
	rel    string
	src    *tree.Dir
	dst    *tree.Dir
	entry  *entry
	st     unix.Stat_t // of the original
	refs   atomic.Int32
}

// copyTask is a directory to open. If entries is set, it is some of the entries of an open
// directory to copy.
type copyTask struct {
	t       *dirPair // the directory that holds the entries, or dir
	dir     *entry
	st      unix.Stat_t // of dir
	entries []entry
}

// begin makes the copy of the root and adds it to the queue.
func (c *copier) begin() (*dirPair, error) {
	if err := unix.Mkdir(c.dst+stagingSuffix, 0o700); err != nil {
		return nil, err
	}
	var err error
	if c.staging, err = tree.Open(c.dst + stagingSuffix); err != nil {
		return nil, err
	}
	top := &dirPair{entry: &entry{}, src: c.root.Hold()}
	if err := unix.Fstat(c.root.FD, &top.st); err != nil {
		return nil, err
	}
	if err := unix.Mkdir(c.dst, 0o700); err != nil {
		return nil, err
	}
	if top.dst, err = tree.Open(c.dst); err != nil {
		return nil, err
	}
	for _, acl := range []string{"system.posix_acl_default", "system.posix_acl_access"} { // otherwise everything below would inherit it
		if err := unix.Fremovexattr(top.dst.FD, acl); err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP) {
			return nil, err
		}
	}
	top.refs.Store(1)
	c.list(top)
	return top, nil
}

// do carries out a task.
func (c *copier) do(t copyTask) {
	defer c.release(t.t)
	if c.stopped() {
		return
	}
	if t.dir != nil {
		c.dir(&t)
		return
	}
	for i := range t.entries {
		if c.stopped() {
			return
		}
		c.copy(t.t, &t.entries[i])
	}
}

// list reads the names in a directory and adds them to the queue. It takes over a reference.
func (c *copier) list(t *dirPair) {
	defer c.release(t)
	names, err := tree.SortedNames(t.src)
	if err != nil && !tree.IsAbsent(err) { // removed since it was opened, so it is empty
		c.fail(t.rel, "", err)
		return
	}
	t.entry.rec = newRecord(names)
	for part := range slices.Chunk(t.entry.rec.entries, tree.Portion) {
		t.refs.Add(1)
		c.queue.Add(copyTask{t: t, entries: part})
	}
}

// release drops a reference. The last one finishes the copy of the directory.
func (c *copier) release(t *dirPair) {
	if t.refs.Add(-1) > 0 {
		return
	}
	if !c.stopped() {
		c.finish(t)
	}
	tree.Release(t.src, t.dst)
	if t.parent != nil {
		c.release(t.parent)
	}
}

// finish gives a directory its owner, mode, attributes and times. Nothing is made in it after that.
func (c *copier) finish(t *dirPair) {
	m := made{d: c.beside, name: path.Base(c.dst)}
	if t.parent != nil { // by name, because its mode may lock us out of the directory itself
		m = made{t.parent.dst, t.entry.name, t.parent.rel}
	}
	c.attributes(m, t.entry, &t.st, tree.FileXattrs(t.src.FD))
}

// dir opens a directory of the tree and makes its copy.
func (c *copier) dir(task *copyTask) {
	parent, e := task.t, task.dir
	rel := parent.rel + "/" + e.name
	src, err := openSourceDir(parent.src, e.name)
	if err == nil && !searchable(src) {
		tree.Release(src)
		err = unix.EACCES
	}
	switch {
	case errors.Is(err, unix.EXDEV):
		c.mount(parent, e, &task.st)
		return
	case errors.Is(err, unix.EACCES):
		c.lose(lostContent, parent.rel, e.name)
		c.placeholder(parent, e, &task.st, unix.S_IFDIR)
		return
	case tree.IsAbsent(err):
		return
	case err != nil:
		c.fail(parent.rel, e.name, err)
		return
	}
	t := &dirPair{parent: parent, rel: rel, src: src, entry: e}
	t.refs.Store(1)
	parent.refs.Add(1)
	if err = unix.Fstat(src.FD, &t.st); err == nil {
		err = unix.Mkdirat(parent.dst.FD, e.name, 0o700)
	}
	if err == nil {
		t.dst, err = tree.OpenUpper(parent.dst, e.name, &unix.Stat_t{Mode: 0o700})
	}
	if err != nil {
		c.fail(parent.rel, e.name, err)
		c.release(t)
		return
	}
	c.list(t)
}

// searchable reports whether the caller may open what is in a directory.
func searchable(d *tree.Dir) bool {
	var st unix.Stat_t
	return !errors.Is(unix.Fstatat(d.FD, ".", &st, 0), unix.EACCES)
}

// mount makes an empty entry where a file system is mounted.
func (c *copier) mount(t *dirPair, e *entry, st *unix.Stat_t) {
	c.mu.Lock()
	c.mounts = append(c.mounts, strings.TrimRight(c.src, "/")+t.rel+"/"+e.name)
	c.mu.Unlock()
	c.lose(lostMount, t.rel, e.name)
	c.placeholder(t, e, st, st.Mode)
}

// placeholder makes an empty entry for something that is not copied.
func (c *copier) placeholder(t *dirPair, e *entry, st *unix.Stat_t, mode uint32) {
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = unix.Mkdirat(t.dst.FD, e.name, mode&0o777)
	} else {
		err = unix.Mknodat(t.dst.FD, e.name, unix.S_IFREG|mode&0o777, 0)
	}
	if err != nil {
		c.fail(t.rel, e.name, err)
		return
	}
	shown := *st
	shown.Mode = st.Mode&unix.S_IFMT | mode&0o7777
	c.attributes(made{t.dst, e.name, t.rel}, e, &shown, tree.Xattrs{})
	e.more().unread = true
	e.size = st.Size
}

// copy makes one entry of the copy. It only adds directories to the queue.
func (c *copier) copy(t *dirPair, e *entry) {
	untouched, leave := c.leave[t.rel+"/"+e.name]
	if untouched {
		c.mount(t, e, &unix.Stat_t{Mode: unix.S_IFDIR | 0o755, Uid: uint32(c.uid), Gid: uint32(c.gid)})
		return
	}
	var st unix.Stat_t
	err := unix.Fstatat(t.src.FD, e.name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	if tree.IsAbsent(err) {
		return
	}
	if err != nil {
		c.fail(t.rel, e.name, err)
		return
	}
	format := st.Mode & unix.S_IFMT
	switch {
	case format == unix.S_IFDIR && leave:
		c.placeholder(t, e, &st, st.Mode)
		e.more().foreign = true
	case format == unix.S_IFDIR:
		t.refs.Add(1)
		c.queue.Add(copyTask{t: t, dir: e, st: st})
	case st.Nlink > 1:
		c.link(t, e, &st)
	default:
		c.make(t, e, &st)
	}
}

// make copies anything but a directory.
func (c *copier) make(t *dirPair, e *entry, st *unix.Stat_t) {
	target := made{t.dst, e.name, t.rel}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		c.file(t, e, st)
		return
	case unix.S_IFLNK:
		var text string
		if text, err = tree.ReadLink(t.src.FD, e.name); tree.IsAbsent(err) || errors.Is(err, unix.EINVAL) {
			return // it is something else by now
		}
		e.more().target = text
		if err == nil {
			err = unix.Symlinkat(text, t.dst.FD, e.name)
		}
	default:
		err = unix.EPERM
		if kind := st.Mode & unix.S_IFMT; !c.opts.NoDevices || kind != unix.S_IFCHR && kind != unix.S_IFBLK {
			err = unix.Mknodat(t.dst.FD, e.name, kind|0o600, int(st.Rdev))
		}
		if errors.Is(err, unix.EPERM) {
			c.lose(lostDevice, t.rel, e.name)
			return
		}
	}
	if err != nil {
		c.fail(t.rel, e.name, err)
		return
	}
	c.attributes(target, e, st, tree.NamedXattrs(t.src, e.name))
}

// link copies a file with several names. The first name that is met is copied like any file, the
// others become names of that copy. Until all is copied, the copy also has a name in the staging
// directory, because the directory of the first name may be closed by its mode.
func (c *copier) link(t *dirPair, e *entry, st *unix.Stat_t) {
	c.mu.Lock()
	l := c.links[tree.InodeOf(st)]
	if l == nil {
		l = &linked{serial: len(c.links)}
		c.links[tree.InodeOf(st)] = l
	}
	c.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	staged := strconv.Itoa(l.serial)
	switch {
	case l.made:
		if err := unix.Linkat(c.staging.FD, staged, t.dst.FD, e.name, 0); err != nil {
			c.fail(t.rel, e.name, err)
			return
		}
		first := l.names[0]
		name := e.name
		*e = *first
		e.name = name
	default:
		c.make(t, e, st)
		if e.mode == 0 {
			return // it has vanished, or failed
		}
		if err := unix.Linkat(t.dst.FD, e.name, c.staging.FD, staged, 0); err != nil {
			c.fail(t.rel, e.name, err)
			return
		}
		l.made = true
	}
	l.names = append(l.names, e)
}

// unstage removes the names in the staging directory. This, like every new name, changes the ctime
// of a copy, so it stores the last one.
func (c *copier) unstage() error {
	for _, l := range c.links {
		if !l.made {
			continue
		}
		staged := strconv.Itoa(l.serial)
		fd, err := unix.Openat(c.staging.FD, staged, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		err = unix.Unlinkat(c.staging.FD, staged, 0)
		if err == nil {
			err = unix.Fstat(fd, &st)
		}
		if err = errors.Join(err, unix.Close(fd)); err != nil {
			return err
		}
		for _, e := range l.names {
			e.ctime = st.Ctim.Nano()
		}
	}
	return nil
}
