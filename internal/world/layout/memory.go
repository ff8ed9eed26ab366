package layout

import (
	"path"
	"slices"
	"syscall"

	"substrate/internal/world/mount"
)

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
