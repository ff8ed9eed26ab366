package layout

import (
	"path"
	"slices"
	"strings"
	"syscall"

	"substrate/internal/world/mount"
)

// foreign gives overlays of their own to directories that the caller may write to but does not own. Inside another overlay nothing could be
// made in them: the kernel copies a directory up before the first change in it, and in a user
// namespace refuses to (EOVERFLOW) where the owner is not mapped. The root of an overlay is there already.
// Only the directories that matter most are looked at: a search for others would have to walk the tree.
//
// Source: Linux fs/overlayfs/copy_up.c, ovl_copy_up_one.
func (p *planner) foreign() {
	candidates := []string{"/var/tmp", "/var/crash"}
	for dir := path.Clean("/" + p.Cwd); dir != "/"; dir = path.Dir(dir) {
		candidates = append(candidates, p.real(dir).path)
	}
	slices.SortFunc(candidates, strings.Compare) // a directory before what is below it
	for _, dir := range slices.Compact(candidates) {
		n, isRemote := p.mountOf(dir)
		if isRemote || n.class() != real || n.superRO || n.flags&mount.ReadOnly != 0 || p.isFresh(dir) || p.isHidden(dir) || n.hasBelow(dir) || p.isUpper(dir) {
			continue
		}
		st, err := p.FS.Lstat(dir)
		if err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFDIR || st.UID == p.UID || p.FS.Rights(dir)&3 != 3 {
			continue
		}
		p.overlay(dir, dir, st, n.flags)
	}
}

// isUpper says whether dir is the root of an overlay already.
func (p *planner) isUpper(dir string) bool {
	return slices.ContainsFunc(p.plan.Uppers, func(u Upper) bool { return u.Path == dir })
}
