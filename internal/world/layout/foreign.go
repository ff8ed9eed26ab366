package layout

import (
	"path"
	"slices"
	"syscall"

	"substrate/internal/world/mount"
)

// addForeign adds overlays for directories in which the caller could make nothing otherwise: those
// that they may write to but do not own, and their own below those of others. Before the first
// change in a directory the kernel copies it up, with all directories above it. In a user namespace
// this fails (EOVERFLOW) if an owner is not mapped. The root of an overlay need not be copied up.
//
// It looks at the way to the most important directories and at the entries of the roots of other
// overlays. To find all such directories it would have to walk the tree.
//
// Source: Linux fs/overlayfs/copy_up.c, ovl_copy_up_one.
func addForeign(p *planner) {
	likely := append([]string{"/var/tmp", "/var/crash", p.Cwd}, p.Likely...)
	for _, dir := range likely {
		p.foreignOnWay(p.real(dir).path)
	}
	for i := range p.plan.Uppers {
		if up := p.plan.Uppers[i]; !slices.Contains(systemDirs, up.Path) && !up.ReadOnly {
			p.foreignIn(up.Path)
		}
	}
}

// systemDirs have nothing that an ordinary user may write to.
var systemDirs = []string{"/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/root", "/sbin", "/usr", "/lost+found"}

// foreignOnWay looks at each directory from the root to dir.
func (p *planner) foreignOnWay(dir string) {
	above := false // a directory between here and the root of the overlay has another owner
	for here, rest := "", dir; rest != "" && rest != "/"; {
		var part string
		part, rest = cutFirst(rest)
		here = here + "/" + part
		if p.isUpper(here) {
			above = false
			continue
		}
		st, ok := p.inOverlay(here)
		if !ok {
			return
		}
		mine := st.UID == p.UID && st.GID == p.GID
		switch {
		case mine && !above:
		case mine || p.FS.Rights(here)&3 == 3:
			p.foreignOverlay(here, st)
			above = false
		default:
			above = true
		}
	}
}

// manyEntries is the largest number of entries with which a directory is searched.
const manyEntries = 64

// foreignIn looks at the directories in dir, which is the root of an overlay.
func (p *planner) foreignIn(dir string) {
	entries, err := p.FS.ReadDir(dir)
	if err != nil || len(entries) > manyEntries {
		return
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if e.Type != syscall.S_IFDIR || p.isUpper(name) {
			continue
		}
		st, ok := p.inOverlay(name)
		if ok && (st.UID != p.UID || st.GID != p.GID) && p.FS.Rights(name)&3 == 3 {
			p.foreignOverlay(name, st)
		}
	}
}

// inOverlay returns the state of a directory if a writable overlay shows it.
func (p *planner) inOverlay(dir string) (Stat, bool) {
	n, isRemote := p.mountOf(dir)
	if isRemote || n.class() != real || n.superRO || n.flags&mount.ReadOnly != 0 || p.isFresh(dir) || p.isHidden(dir) {
		return Stat{}, false
	}
	st, err := p.FS.Lstat(dir)
	return st, err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFDIR
}

// foreignOverlay adds an overlay over dir, on top of the one that shows it. If mounts are below
// dir, it is rebuilt and needs none.
func (p *planner) foreignOverlay(dir string, st Stat) {
	if n, _ := p.mountOf(dir); !n.hasBelow(dir) {
		p.overlay(dir, dir, st, n.flags)
		p.mayVanish(dir, n)
	}
}

// isUpper reports whether dir is the root of an overlay.
func (p *planner) isUpper(dir string) bool {
	return slices.ContainsFunc(p.plan.Uppers, func(u Upper) bool { return u.Path == dir })
}

// moveToMemory moves uppers to memory if the user can write little or nothing to them: most
// directories of a machine belong to others. On disk each would cost four directories.
func moveToMemory(p *planner) {
	for i := range p.plan.Uppers {
		up := &p.plan.Uppers[i]
		if !up.ReadOnly && !p.untouchable(up.Path) {
			continue
		}
		disk := up.Dir
		up.InMemory, up.Dir, up.Work = true, p.Place(UpperInMemory, i), p.Place(WorkInMemory, i)
		for j := range p.plan.Mounts {
			if m := &p.plan.Mounts[j]; m.Kind == mount.Overlay && m.Upper == disk {
				m.Upper, m.Work = up.Dir, up.Work
			}
		}
	}
}

// untouchable reports whether the caller can write neither to a directory nor to its entries. What
// is deeper cannot be written through the overlay, because directories of others are on the way;
// see addForeign.
func (p *planner) untouchable(dir string) bool {
	st, err := p.FS.Lstat(dir)
	if err != nil || st.UID == p.UID || p.FS.Rights(dir)&2 != 0 {
		return false
	}
	if slices.Contains(systemDirs, dir) {
		return true
	}
	entries, err := p.FS.ReadDir(dir)
	if err != nil || len(entries) > manyEntries {
		return false
	}
	return !slices.ContainsFunc(entries, func(e Entry) bool {
		name := path.Join(dir, e.Name)
		if p.isUpper(name) || e.Type == syscall.S_IFLNK {
			return false
		}
		st, err := p.FS.Lstat(name)
		return err != nil || st.UID == p.UID || p.FS.Rights(name)&2 != 0
	})
}
