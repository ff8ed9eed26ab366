package layout

import (
	"fmt"
	"syscall"

	"substrate/internal/world/mount"
)

// Around describes the working directory on the host, for a copy of it.
type Around struct {
	Real   string   // the working directory without symlinks
	Remote []string // mounts below it that may hang and must not be touched
	Kernel []string // mounts of the kernel below it, which a copy does not show
}

// AroundCwd returns what a copy of the working directory must leave alone.
func AroundCwd(in Input) (Around, error) {
	p, err := newPlanner(in)
	if err != nil {
		return Around{}, err
	}
	a := Around{Real: p.real(in.Cwd).path}
	p.root.walk(func(n *node) {
		if n.path == a.Real || !within(n.path, a.Real) {
			return
		}
		switch n.class() {
		case remote:
			a.Remote = append(a.Remote, n.path)
		case pseudo:
			a.Kernel = append(a.Kernel, n.path)
		case real, unfit:
		}
	})
	return a, nil
}

// scratchDirs, and Input.Temp, are writable in a world without overlays. They are empty at first
// and in no diff.
var scratchDirs = []string{"/tmp", "/var/tmp"}

// copyStep is the step of the mounts in a world with a copy.
const copyStep = "copy-diff"

// MakeBound computes the file view of a world without overlays: the machine, read-only, with
// copyDir in place of the working directory. mounts are paths in the working directory that are
// shown read-only on top of it. Likely directories are shown if they are in a directory that is
// made new.
func MakeBound(in Input, copyDir string, mounts []string) (*Plan, error) {
	p, err := newPlanner(in)
	if err != nil {
		return nil, err
	}
	p.add(mount.Mount{Kind: mount.RBind, Step: copyStep, Target: "/", Source: "/", Flags: mount.ReadOnly | mount.NoDev})
	p.hideKernel(p.root)
	temp := p.real(in.Temp)
	for _, dir := range scratchDirs {
		p.scratch(dir, temp.path)
	}
	if in.Temp != "" {
		p.temp(temp)
	}
	at := p.real(in.Cwd)
	if !p.isFresh(at.path) {
		err = p.boundCwd(at.path, copyDir)
	}
	oneStep(p.plan.Mounts)
	addKernelDirs(p)
	if p.isFresh(at.path) {
		err = p.boundCwd(at.path, copyDir)
	}
	if err != nil {
		return nil, err
	}
	for _, path := range mounts {
		if n, _ := p.mountOf(path); n.class() != pseudo && !n.hasKernel() {
			p.add(mount.Mount{Kind: mount.RBind, Step: copyStep, Target: path, Source: path, Flags: n.flags | mount.ReadOnly | mount.NoDev, Optional: true})
		}
	}
	showResolv(p)
	hidden := len(p.plan.Mounts)
	hide(p)
	oneStep(p.plan.Mounts[hidden:])
	return p.plan, nil
}

// oneStep sets the step of mounts, for messages.
func oneStep(list []mount.Mount) {
	for i := range list {
		list[i].Step = copyStep
	}
}

// hideKernel covers the file systems of the kernel outside the directories that are made new.
func (p *planner) hideKernel(n *node) {
	for _, c := range n.children {
		switch {
		case p.isFresh(c.path) || p.isHidden(c.path):
		case c.class() == pseudo:
			p.hidePseudo(c)
		case c.class() == remote && c.hasKernel():
			p.mask(c.path, copyStep, false) // to hide only what is below, the set-up would have to walk there
		default:
			p.hideKernel(c)
		}
	}
}

// hasKernel reports whether a file system of the kernel is mounted below n.
func (n *node) hasKernel() bool {
	found := false
	n.walk(func(c *node) { found = found || c != n && c.class() == pseudo })
	return found
}

// scratch makes a directory for temporary files new. Likely directories in it stay visible.
func (p *planner) scratch(dir, temp string) {
	at := p.real(dir)
	if at.path != dir || !at.exists || at.stat.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		return
	}
	p.add(mount.Mount{Kind: mount.Tmpfs, Step: copyStep, Target: dir, Mode: 0o1777, Flags: mount.NoSuid | mount.NoDev})
	for _, likely := range p.Likely {
		if l := p.real(likely); l.exists && l.path != dir && l.path != temp && within(l.path, dir) {
			p.mkdirs(dir, l.path)
			p.add(mount.Mount{Kind: mount.RBind, Step: copyStep, Target: l.path, Source: l.path, Flags: mount.ReadOnly | mount.NoDev, Optional: true})
		}
	}
}

// temp makes the command's own directory for temporary files new. Below another such directory it
// is only a directory.
func (p *planner) temp(at resolved) {
	for _, dir := range scratchDirs {
		if within(at.path, dir) {
			if at.path != dir {
				p.mkdirs(dir, at.path)
			}
			return
		}
	}
	holdsCwd := within(p.real(p.Cwd).path, at.path)
	if !at.exists || at.stat.Mode&syscall.S_IFMT != syscall.S_IFDIR || holdsCwd || p.isFresh(at.path) || p.isHidden(at.path) {
		return
	}
	p.add(mount.Mount{Kind: mount.Tmpfs, Step: copyStep, Target: at.path, Mode: 0o700, Flags: mount.NoSuid | mount.NoDev})
}

// boundCwd binds the copy over the working directory.
func (p *planner) boundCwd(at, copyDir string) error {
	n, _ := p.mountOf(at)
	base := ""
	for _, dir := range append([]string{"/dev/shm", p.runUser(), "/run/lock", "/run"}, scratchDirs...) {
		if within(at, dir) && base == "" {
			base = dir
		}
	}
	switch {
	case base != "":
		if at != base {
			p.mkdirs(base, at)
		}
		p.cwdAt = at
	case p.isFresh(at):
		return fmt.Errorf("the working directory %s is one of the kernel's", p.Cwd)
	}
	p.add(mount.Mount{Kind: mount.Bind, Step: copyStep, Target: at, Source: copyDir, Flags: n.flags | mount.NoDev})
	return nil
}
