package layout

import (
	"path"
	"syscall"

	"substrate/internal/world/mount"
)

// site is a directory that a user's world rebuilds around the mounts below it. The kernel refuses
// an overlay over it, because a less privileged namespace may not see what a mount covers.
//
// Source: Linux fs/namespace.c, has_locked_children.
type site struct {
	dir    string
	n      *node   // the mount that holds dir
	shadow *Shadow // lower of the overlay at dir; nil if dir is in a tmpfs of the world
}

// rebuildRoot rebuilds "/", which always has mounts below it.
func (p *planner) rebuildRoot() error {
	st, err := p.FS.Lstat("/")
	if err != nil {
		return err
	}
	if _, err := p.FS.ReadDir("/"); err != nil {
		return err
	}
	p.rebuild("/", p.root, st, nil)
	return nil
}

// rebuild shows a directory with mounts below it. The world already has an empty directory there:
// in a tmpfs if parent has no shadow, else as a mount point.
func (p *planner) rebuild(dir string, n *node, st Stat, parent *site) {
	s := &site{dir: dir, n: n}
	writable := p.FS.Rights(dir)&3 == 3 && !n.superRO && n.flags&mount.ReadOnly == 0 && n.class() == real
	switch {
	case writable:
		place := p.Place(ShadowDir, len(p.plan.Shadows))
		p.plan.Shadows = append(p.plan.Shadows, Shadow{}) // reserves the number; filled in below
		i := len(p.plan.Shadows) - 1
		shadowStat := st
		shadowStat.Mode, shadowStat.UID, shadowStat.GID = st.Mode&syscall.S_IFMT|p.modeForCaller(dir, st), p.UID, p.GID
		s.shadow = &Shadow{Path: dir, Place: place, Stat: shadowStat}
		defer func() { p.plan.Shadows[i] = *s.shadow }()
		p.overlay(dir, place, st, n.flags)
		p.note("%s has mounts below it: in the world its directories cannot be renamed or removed", dir)
	case parent == nil || parent.shadow != nil || dir == n.path:
		p.add(mount.Mount{Kind: mount.Tmpfs, Step: "overlay", Target: dir, Mode: p.modeForCaller(dir, st), Flags: mount.NoSuid | mount.NoDev})
	}
	seen := p.rebuildListed(s)
	p.rebuildUnlisted(s, seen)
}

// rebuildListed shows the entries that the caller can list, and returns their names.
func (p *planner) rebuildListed(s *site) map[string]bool {
	entries, err := p.FS.ReadDir(s.dir)
	if err != nil && p.FS.Rights(s.dir)&1 != 0 {
		p.note("%s cannot be listed and has mounts below it: only those are in the world (%v)", s.dir, err)
	}
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		seen[e.Name] = true
		p.rebuildEntry(s, path.Join(s.dir, e.Name), e.Type)
	}
	return seen
}

// rebuildUnlisted shows what was not listed, because the caller may search the directory but not
// read it: the mounts in it, and the way to the directories that the command needs.
func (p *planner) rebuildUnlisted(s *site, seen map[string]bool) {
	if p.FS.Rights(s.dir)&5 == 1 {
		for _, dir := range append([]string{p.Cwd}, p.Likely...) {
			if name := nameIn(s.dir, p.real(dir).path); name != "" && !seen[name] {
				seen[name] = true
				p.rebuildEntry(s, path.Join(s.dir, name), syscall.S_IFDIR)
			}
		}
	}
	for _, c := range s.n.children {
		if c.path == s.dir || !within(c.path, s.dir) {
			continue
		}
		name := nameIn(s.dir, c.path)
		if seen[name] {
			continue
		}
		seen[name] = true
		if p.FS.Rights(s.dir)&1 == 0 {
			p.note("%s lies in %s, which you cannot enter: not in the world", c.path, s.dir)
			seen[name] = false // one note for each mount
			continue
		}
		p.rebuildEntry(s, path.Join(s.dir, name), syscall.S_IFDIR)
	}
}

// nameIn returns the next name on the way from dir to target, "" if target is not below dir.
func nameIn(dir, target string) string {
	if target == dir || !within(target, dir) {
		return ""
	}
	if dir != "/" {
		target = target[len(dir):]
	}
	name, _ := cutFirst(target)
	return name
}

// rebuildEntry shows one entry of a directory that is rebuilt.
func (p *planner) rebuildEntry(s *site, name string, kind uint32) {
	isDir := kind == syscall.S_IFDIR
	if isDir && p.isFresh(name) || p.isHidden(name) {
		p.point(s, name, kind, 0o555)
		return
	}
	if c := s.n.at(name); c != nil {
		p.rebuildMount(s, c, kind)
		return
	}
	st, err := p.FS.Lstat(name)
	if err != nil {
		if isDir {
			p.point(s, name, kind, 0)
		}
		return // removed since it was listed, or out of reach for the command as well
	}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		p.rebuildDir(s, name, s.n, st)
	case syscall.S_IFLNK, syscall.S_IFIFO:
		p.recreate(s, name, st)
	case syscall.S_IFREG:
		p.rebuildFile(s, name, st)
	}
	// Sockets and devices are left out: they lead out of the world.
}

// rebuildMount shows a mount in a directory that is rebuilt. kind is the type of the mount point.
func (p *planner) rebuildMount(s *site, c *node, kind uint32) {
	switch c.class() {
	case pseudo, remote:
		p.point(s, c.path, kind, 0o555)
		p.carry(c)
		return
	case real, unfit:
	}
	st, err := p.FS.Lstat(c.path)
	switch {
	case err != nil:
		p.note("%s cannot be reached: not in the world (%v)", c.path, err)
		p.point(s, c.path, kind, 0)
	case st.Mode&syscall.S_IFMT == syscall.S_IFDIR:
		p.rebuildDir(s, c.path, c, st)
	default:
		p.point(s, c.path, syscall.S_IFREG, 0o444)
		p.carryFile(c.path, c, st, p.FS.Rights(c.path)&2 != 0)
	}
}

// rebuildDir shows a directory of n, as a whole if nothing is mounted below it.
func (p *planner) rebuildDir(s *site, dir string, n *node, st Stat) {
	mode := p.modeForCaller(dir, st)
	if n.hasBelow(dir) {
		p.point(s, dir, syscall.S_IFDIR, mode)
		p.rebuild(dir, n, st, s)
		return
	}
	p.point(s, dir, syscall.S_IFDIR, mode)
	rights := p.FS.Rights(dir)
	if st.UID != p.UID && (rights == 0 || rights&2 == 0 && p.FS.IsEmpty(dir)) {
		return // nothing can be seen or written, so an overlay would be a waste
	}
	p.carryDir(dir, n, st)
	p.mayVanish(dir, n)
}

// mayVanish marks the mount that was added last if the host can remove its directory at any time.
// It cannot remove a mount point.
func (p *planner) mayVanish(name string, n *node) {
	if name != n.path {
		p.plan.Mounts[len(p.plan.Mounts)-1].MayVanish = true
	}
}

// rebuildFile shows a regular file.
func (p *planner) rebuildFile(s *site, file string, st Stat) {
	rights := p.FS.Rights(file)
	if s.shadow == nil || file == p.resolv {
		p.point(s, file, syscall.S_IFREG, 0o444)
		if file != p.resolv {
			p.carryFile(file, s.n, st, rights&2 != 0)
			p.mayVanish(file, s.n)
		}
		return
	}
	if rights&4 != 0 && p.mayCopy(file, st) {
		s.shadow.Entries = append(s.shadow.Entries, ShadowEntry{Name: path.Base(file), Stat: st})
		return
	}
	p.point(s, file, syscall.S_IFREG, 0o444)
	p.bind(file, file, s.n.flags|mount.ReadOnly|mount.NoDev)
	p.mayVanish(file, s.n)
}

// recreate makes a symlink or fifo again.
func (p *planner) recreate(s *site, name string, st Stat) {
	if s.shadow != nil {
		s.shadow.Entries = append(s.shadow.Entries, ShadowEntry{Name: path.Base(name), Stat: st})
		return
	}
	if st.Mode&syscall.S_IFMT == syscall.S_IFIFO {
		p.add(mount.Mount{Kind: mount.File, Step: "overlay", Target: name, Mode: syscall.S_IFIFO | p.modeForCaller(name, st)})
		return
	}
	if text, err := p.FS.Readlink(name); err == nil {
		p.add(mount.Mount{Kind: mount.Symlink, Step: "overlay", Target: name, Source: text})
	}
}

// point makes an empty file or directory, as a mount point.
func (p *planner) point(s *site, name string, kind, mode uint32) {
	isDir := kind == syscall.S_IFDIR
	if !isDir {
		kind = syscall.S_IFREG
	}
	if s.shadow != nil {
		st := Stat{Mode: kind | mode, UID: p.UID, GID: p.GID}
		s.shadow.Entries = append(s.shadow.Entries, ShadowEntry{Name: path.Base(name), Empty: true, Stat: st})
		return
	}
	m := mount.Mount{Kind: mount.File, Step: "overlay", Target: name, Mode: mode}
	if isDir {
		m.Kind = mount.Mkdir
	}
	p.add(m)
}
