package snapshot

import (
	"errors"

	"golang.org/x/sys/unix"

	"substrate/internal/world/tree"
)

// made is a new entry of the copy that has no metadata yet.
type made struct {
	d    *tree.Dir
	name string // in d
	rel  string // of d, in the tree
}

// file copies a regular file.
func (c *copier) file(t *dirPair, e *entry, st *unix.Stat_t) {
	src, err := openSource(t.src.FD, e.name, 0)
	switch {
	case errors.Is(err, unix.EXDEV):
		c.mount(t, e, st)
		return
	case errors.Is(err, unix.EACCES):
		c.lose(lostContent, t.rel, e.name)
		c.placeholder(t, e, st, 0)
		return
	case tree.IsAbsent(err) || errors.Is(err, unix.ENXIO):
		return // it has vanished, or is no regular file any more
	case err != nil:
		c.fail(t.rel, e.name, err)
		return
	}
	defer unix.Close(src)
	if err := unix.Fstat(src, st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		if err != nil {
			c.fail(t.rel, e.name, err)
		}
		return
	}
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	dst, err := unix.Openat(t.dst.FD, e.name, flags, st.Mode&0o777)
	if err == nil {
		err = c.contents.Copy(c.ctx, dst, src, st)
		err = errors.Join(err, unix.Close(dst))
	}
	if err != nil {
		c.fail(t.rel, e.name, err)
		return
	}
	c.done.Add(st.Blocks * 512)
	c.attributes(made{t.dst, e.name, t.rel}, e, st, tree.FileXattrs(src))
}

// attributes gives an entry of the copy the metadata of the original, st and x, and stores its
// state in e.
func (c *copier) attributes(m made, e *entry, st *unix.Stat_t, x tree.Xattrs) {
	if int(st.Uid) != c.uid || int(st.Gid) != c.gid { // before the attributes, because chown clears capabilities
		c.chown(m, st)
	}
	c.copyXattrs(m, e, x)
	times := []unix.Timespec{st.Atim, st.Mtim}
	var now unix.Stat_t
	for again := true; ; again = false {
		err := unix.UtimesNanoAt(m.d.FD, m.name, times, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil {
			err = unix.Fstatat(m.d.FD, m.name, &now, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err != nil {
			c.fail(m.rel, m.name, err)
			return
		}
		if !again || !c.repair(m, st, &now) {
			break
		}
	}
	e.set(&now)
	e.original = st.Ctim.Nano()
}

// chown gives an entry of the copy the owner of the original. If the caller may not do that, it
// sets only the group.
func (c *copier) chown(m made, st *unix.Stat_t) {
	err := unix.Fchownat(m.d.FD, m.name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		c.lose(lostOwner, m.rel, m.name)
		_ = unix.Fchownat(m.d.FD, m.name, -1, int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
	}
}

// repair sets the mode again if a umask, a chown or an attribute changed it, and the group if the
// directory passes on its own group. It reports whether it changed anything.
func (c *copier) repair(m made, st, now *unix.Stat_t) bool {
	changed := false
	if now.Uid == st.Uid && now.Gid != st.Gid {
		changed = unix.Fchownat(m.d.FD, m.name, -1, int(st.Gid), unix.AT_SYMLINK_NOFOLLOW) == nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK && (changed || now.Mode != st.Mode) {
		if err := unix.Fchmodat(m.d.FD, m.name, st.Mode&0o7777, 0); err != nil {
			c.fail(m.rel, m.name, err)
		}
		changed = true
	}
	return changed
}

// copyXattrs copies the extended attributes that count, including ACLs, and stores those of the
// copy in e.
func (c *copier) copyXattrs(m made, e *entry, from tree.Xattrs) {
	names, err := from.Names()
	if err != nil || len(names) == 0 {
		return
	}
	lost := false
	for _, name := range names {
		if !tree.IsPortable(name) {
			continue
		}
		value, err := from.Value(name)
		if err == nil {
			err = setXattr(m, name, []byte(value))
		}
		lost = lost || err != nil && name != "security.selinux" // the policy sets that one
	}
	if lost {
		c.lose(lostXattrs, m.rel, m.name)
	}
	if set, err := tree.XattrSet(tree.NamedXattrs(m.d, m.name), nil); err == nil && set != "" {
		e.more().xattrs = set
	}
}

// setXattr sets an attribute. If the mode denies that to the owner, it changes the mode; repair
// restores it.
func setXattr(m made, name string, value []byte) error {
	path := tree.NamedPath(m.d, m.name)
	err := unix.Lsetxattr(path, name, value, 0)
	if errors.Is(err, unix.EACCES) && unix.Fchmodat(m.d.FD, m.name, 0o700, 0) == nil {
		err = unix.Lsetxattr(path, name, value, 0)
	}
	return err
}
