package layout

import (
	"fmt"
	"path"
	"slices"
	"syscall"

	"substrate/internal/world/mount"
)

// planner is a plan under construction.
type planner struct {
	Input
	root    *node
	plan    *Plan
	hidden  []string // Hide without symlinks
	resolv  string   // the real path of resolv.conf, "" if it is not shown
	options string
	copied  int64  // bytes of all files copied so far
	cwdAt   string // path of the working directory if it is in a directory that is made new, else ""
}

// Make computes the file view of a world. It changes nothing. The error says that mountinfo or the
// root directory cannot be read. Everything else that cannot be shown is a note.
func Make(in Input) (*Plan, error) {
	p, err := newPlanner(in)
	if err != nil {
		return nil, err
	}
	root := p.root
	mounts := 0
	root.walk(func(*node) { mounts++ })
	p.plan.Mounts = make([]mount.Mount, 0, 64+mounts)
	p.plan.Uppers = make([]Upper, 0, 1+mounts)
	if in.User {
		err = p.rebuildRoot()
		addForeign(p)
		moveToMemory(p)
	} else {
		err = p.overlayRoot()
	}
	if err != nil {
		return nil, err
	}
	addKernelDirs(p)
	addFreshCwd(p)
	showResolv(p)
	hide(p)
	return p.plan, nil
}

// newPlanner reads what all plans need.
func newPlanner(in Input) (*planner, error) {
	if in.Place == nil || in.FS == nil {
		return nil, errNoPlace
	}
	root, err := parseMountInfo(in.MountInfo)
	if err != nil {
		return nil, err
	}
	in.FS = newCached(in.FS)
	p := &planner{Input: in, root: root, plan: &Plan{}, options: in.Options}
	if p.CopyMax == 0 {
		p.CopyMax = DefaultCopyMax
	}
	if p.options == "" {
		p.options = mount.OptionsRoot
		if in.User {
			p.options = mount.OptionsUser
		}
	}
	for _, dir := range in.Hide {
		p.hidden = append(p.hidden, p.real(dir).path)
	}
	if in.Resolv != "" {
		findResolv(p)
	}
	return p, nil
}

// overlayRoot plans an overlay on "/", and the mounts below it.
func (p *planner) overlayRoot() error {
	st, err := p.FS.Lstat("/")
	if err != nil {
		return err
	}
	flags := p.root.flags
	if p.root.superRO {
		flags |= mount.ReadOnly
	}
	p.overlay("/", "/", st, flags)
	for _, n := range p.root.children {
		p.carry(n)
	}
	return nil
}

// carry plans the mount n in a world that already has its parent directory.
func (p *planner) carry(n *node) {
	if p.isFresh(n.path) || p.isHidden(n.path) {
		return
	}
	switch n.class() {
	case pseudo:
		p.hidePseudo(n)
		return
	case remote:
		p.carryRemote(n)
		return
	case real, unfit:
	}
	st, err := p.FS.Lstat(n.path)
	if err != nil {
		p.note("%s cannot be reached: not in the world (%v)", n.path, err)
		return
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		p.carryFile(n.path, n, st, p.FS.Rights(n.path)&2 != 0)
		return
	}
	p.carryDir(n.path, n, st)
	for _, c := range n.children {
		p.carry(c)
	}
}

// carryDir shows a directory of n, without what is mounted below it.
func (p *planner) carryDir(dir string, n *node, st Stat) {
	switch {
	case n.class() == unfit:
		p.note("%s is a file system of type %s: read-only in the world", n.path, n.fstype)
		p.bind(dir, dir, n.flags|mount.ReadOnly|mount.NoDev)
	case n.superRO:
		p.bind(dir, dir, n.flags|mount.ReadOnly|mount.NoDev)
	default:
		// A read-only mount gets an overlay too: it may hold sockets of others, which an overlay
		// hides.
		p.overlay(dir, dir, st, n.flags)
		if dir == n.path && dir != "/" {
			p.mayRefuse(dir, n)
		}
	}
}

// mayRefuse gives the overlay that was added last an alternative. If the kernel refuses one mount
// as a lower, because it is an overlay on an overlay or has an unknown feature, the world must work
// all the same.
func (p *planner) mayRefuse(dir string, n *node) {
	m := &p.plan.Mounts[len(p.plan.Mounts)-1]
	m.Else = []mount.Mount{{
		Kind: mount.Bind, Step: m.Step, Target: dir, Source: dir, Flags: n.flags | mount.ReadOnly | mount.NoDev,
	}}
	p.plan.Uppers[len(p.plan.Uppers)-1].MayRefuse = true
}

// overlay adds an overlay and its upper. flags are those of the mount on the host.
func (p *planner) overlay(dir, lower string, st Stat, flags mount.Flags) {
	i := len(p.plan.Uppers)
	up := Upper{
		N: i, Path: dir, Lower: lower, Dir: p.Place(UpperDir, i), Work: p.Place(WorkDir, i),
		ReadOnly: flags&mount.ReadOnly != 0,
		Mode:     st.Mode & 0o7777, UID: st.UID, GID: st.GID, MtimeSec: st.MtimeSec, MtimeNsec: st.MtimeNsec,
	}
	if p.User {
		up.Mode, up.UID, up.GID = p.modeForCaller(dir, st), p.UID, p.GID
	}
	p.plan.Uppers = append(p.plan.Uppers, up)
	p.add(mount.Mount{
		Kind: mount.Overlay, Step: "overlay", Target: dir, Lower: lower, Upper: up.Dir, Work: up.Work,
		Flags: flags | mount.NoDev, Data: p.options,
	})
}

// modeForCaller returns the mode of a directory that belongs to the caller in the world. The mode
// gives the caller the rights that they have on the host.
func (p *planner) modeForCaller(dir string, st Stat) uint32 {
	mode := st.Mode & 0o7777
	if st.UID == p.UID {
		return mode
	}
	rights := p.FS.Rights(dir)
	return mode&0o7000 | rights<<6 | mode&0o070&(rights<<3) | mode&0o007&rights
}

// carryFile shows a file that cannot be in an overlay, because it is a mount itself or its
// directory is rebuilt.
func (p *planner) carryFile(file string, n *node, st Stat, writable bool) {
	kind := st.Mode & syscall.S_IFMT
	switch {
	case file == p.resolv: // showResolv binds it
	case kind != syscall.S_IFREG:
		p.note("%s is not a regular file: hidden in the world", file)
		p.bind(file, p.Empty, mount.ReadOnly|mount.NoDev)
	case n.superRO || n.flags&mount.ReadOnly != 0 || !writable || n.class() == unfit:
		p.bind(file, file, n.flags|mount.ReadOnly|mount.NoDev)
	case !p.mayCopy(file, st):
		p.bind(file, file, n.flags|mount.ReadOnly|mount.NoDev)
	default:
		place := p.Place(CopyFile, len(p.plan.Copies))
		p.plan.Copies = append(p.plan.Copies, Copy{Path: file, Place: place})
		p.bind(file, place, n.flags|mount.NoDev)
	}
}

// mayCopy reports whether a file of that size is copied. If not, it adds a note.
func (p *planner) mayCopy(file string, st Stat) bool {
	if st.Size > p.CopyMax || p.copied+st.Size > 4*p.CopyMax {
		p.note("%s has %d bytes, too many to copy: read-only in the world", file, st.Size)
		return false
	}
	p.copied += st.Size
	return true
}

// carryRemote binds a mount that may hang, with all that is mounted below it. It asks that mount
// nothing.
func (p *planner) carryRemote(n *node) {
	var kernel *node
	n.walk(func(c *node) {
		if c.class() == pseudo && kernel == nil {
			kernel = c
		}
		p.note("%s is mounted below %s: read-only in the world", c.path, n.path)
	})
	if kernel != nil {
		// In a user namespace it cannot be bound alone, and to hide what is below the set-up would
		// have to walk there.
		p.note("%s has a %s mounted below it: hidden in the world", n.path, kernel.fstype)
		p.mask(n.path, "overlay", false)
		return
	}
	p.note("%s is a file system of type %s: read-only in the world", n.path, n.fstype)
	p.add(mount.Mount{Kind: mount.RBind, Step: "overlay", Target: n.path, Source: n.path, Flags: n.flags | mount.ReadOnly | mount.NoDev})
}

// hidePseudo covers a file system of the kernel that is mounted in an unusual place, such as in a
// chroot: the host's proc would lead out of the world.
func (p *planner) hidePseudo(n *node) {
	n.walk(func(c *node) {
		if c.class() != pseudo {
			p.note("%s is mounted below a hidden %s: not in the world", c.path, n.fstype)
		}
	})
	p.note("%s is a %s: hidden in the world", n.path, n.fstype)
	p.mask(n.path, "overlay", false)
}

// mask covers a file or directory, whichever it is, with an empty one.
func (p *planner) mask(target, step string, optional bool) {
	p.add(mount.Mount{
		Kind: mount.Bind, Step: step, Target: target, Source: p.EmptyDir, Optional: optional,
		Flags: mount.ReadOnly | mount.NoSuid | mount.NoDev | mount.NoExec,
		Else:  []mount.Mount{{Kind: mount.Bind, Step: step, Target: target, Source: p.Empty, Flags: mount.ReadOnly | mount.NoDev}},
	})
}

// bind shows source at target, without what is mounted below it.
func (p *planner) bind(target, source string, flags mount.Flags) {
	p.add(mount.Mount{Kind: mount.Bind, Step: "overlay", Target: target, Source: source, Flags: flags})
}

func (p *planner) add(m mount.Mount) { p.plan.Mounts = append(p.plan.Mounts, m) }

// note adds a note once.
func (p *planner) note(format string, args ...any) {
	note := fmt.Sprintf(format, args...)
	if !slices.Contains(p.plan.Notes, note) {
		p.plan.Notes = append(p.plan.Notes, note)
	}
}

// isHidden reports whether path is hidden by Input.Hide.
func (p *planner) isHidden(name string) bool {
	for _, dir := range p.hidden {
		if within(name, dir) {
			return true
		}
	}
	return false
}

// mountOf returns the mount that holds path, and reports whether a remote mount is on the way.
func (p *planner) mountOf(name string) (n *node, isRemote bool) {
	n = p.root
next:
	for {
		for _, c := range n.children {
			if within(name, c.path) {
				n = c
				isRemote = isRemote || c.class() == remote
				continue next
			}
		}
		return n, isRemote
	}
}

// resolved is a path without symlinks.
type resolved struct {
	path   string
	stat   Stat
	exists bool // false also if it could not be read
}

// real follows the symlinks of name on the host. It stops at a remote file system.
func (p *planner) real(name string) resolved {
	rest := path.Clean("/" + name)
	done := resolved{path: "/", exists: true}
	for links := 0; rest != "" && rest != "/"; {
		var part string
		part, rest = cutFirst(rest)
		here := path.Join(done.path, part)
		if _, isRemote := p.mountOf(here); isRemote {
			return resolved{path: path.Join(here, rest)}
		}
		st, err := p.FS.Lstat(here)
		if err != nil {
			return resolved{path: path.Join(here, rest)}
		}
		if st.Mode&syscall.S_IFMT != syscall.S_IFLNK {
			done = resolved{path: here, stat: st, exists: true}
			continue
		}
		text, err := p.FS.Readlink(here)
		if links++; err != nil || links > 40 {
			return resolved{path: path.Join(here, rest)}
		}
		if !path.IsAbs(text) {
			text = path.Join(done.path, text)
		}
		rest = path.Join(text, rest)
		done = resolved{path: "/", exists: true}
	}
	return done
}

// cutFirst splits off the first name of a clean absolute path.
func cutFirst(name string) (first, rest string) {
	for i := 1; i < len(name); i++ {
		if name[i] == '/' {
			return name[1:i], name[i:]
		}
	}
	return name[1:], ""
}
