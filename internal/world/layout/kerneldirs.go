package layout

import (
	"path"
	"strconv"
	"strings"
	"syscall"

	"substrate/internal/world/mount"
)

// sealed are the flags for what must not run and must not be a device.
const sealed = mount.NoSuid | mount.NoDev | mount.NoExec

// Through readOnlyProc root could change the host (WLD4). maskedProc would show its memory and
// keys.
var (
	readOnlyProc = [...]string{"sys", "sysrq-trigger", "irq", "bus", "fs", "acpi"}
	maskedProc   = [...]string{"kcore", "keys", "timer_list", "sched_debug"}
)

// devices are the device files of a world.
//
// Source: Linux Documentation/admin-guide/devices.txt.
var devices = [...]struct {
	name         string
	major, minor uint64 // small enough for the old encoding, which is part of the new one
}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}}

// devLinks are the symlinks in /dev.
//
// Source: Linux Documentation/admin-guide/devices.rst, "Compulsory links";
// Documentation/filesystems/devpts.rst.
var devLinks = [...][2]string{
	{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"}, {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},
}

// addKernelDirs makes proc, sys, dev and run new.
func addKernelDirs(p *planner) {
	for _, dir := range fresh {
		if !p.isDir(dir) {
			p.note("the host has no directory %s: the world has none either", dir)
			continue
		}
		switch dir {
		case "/proc":
			addProc(p)
		case "/sys":
			addSys(p)
		case "/dev":
			addDev(p)
		case "/run":
			addRun(p)
		}
	}
}

// isDir reports whether the host has a directory there. A mount point counts as one and is not
// asked.
func (p *planner) isDir(dir string) bool {
	if n, _ := p.mountOf(dir); n.path == dir {
		return true
	}
	st, err := p.FS.Lstat(dir)
	return err == nil && st.Mode&syscall.S_IFMT == syscall.S_IFDIR
}

func addProc(p *planner) {
	p.add(mount.Mount{Kind: mount.Proc, Step: "proc", Target: "/proc", Flags: sealed})
	if p.User && p.UID != 0 {
		return // the files belong to root of the host, who is nobody here
	}
	for _, name := range readOnlyProc {
		target := "/proc/" + name
		p.add(mount.Mount{Kind: mount.Bind, Step: "proc", Target: target, Source: target, Inside: true, Flags: sealed | mount.ReadOnly, MayVanish: true})
	}
	for _, name := range maskedProc {
		p.add(mount.Mount{Kind: mount.Bind, Step: "proc", Target: "/proc/" + name, Source: p.Empty, Flags: mount.ReadOnly | mount.NoDev, Optional: true})
	}
}

func addSys(p *planner) {
	p.add(mount.Mount{
		Kind: mount.Sysfs, Step: "sys", Target: "/sys", Flags: sealed | mount.ReadOnly,
		// A user may not mount sysfs without a network namespace.
		Else: []mount.Mount{{Kind: mount.RBind, Step: "sys", Target: "/sys", Source: "/sys", Flags: sealed | mount.ReadOnly}},
	})
}

func addDev(p *planner) {
	step := func(m mount.Mount) {
		m.Step, m.Target = "dev", "/dev"+m.Target
		p.add(m)
	}
	flags := mount.NoSuid
	if p.User {
		flags |= mount.NoDev
	}
	step(mount.Mount{Kind: mount.Tmpfs, Mode: p.dirMode(), Flags: flags})
	for _, d := range devices {
		node := []mount.Mount{
			{Kind: mount.File, Step: "dev", Target: "/dev/" + d.name, Mode: 0o666},
			// Read-only protects the host's node from chmod, chown and touch. The device can be
			// written to all the same.
			{
				Kind: mount.Bind, Step: "dev", Target: "/dev/" + d.name, Source: "/dev/" + d.name, Optional: d.name == "tty",
				Flags: mount.ReadOnly | mount.NoSuid | mount.NoExec,
			},
		}
		if p.User {
			p.plan.Mounts = append(p.plan.Mounts, node...)
			continue
		}
		// A node of our own takes one call, and no mount to remove later.
		step(mount.Mount{Kind: mount.Device, Target: "/" + d.name, Dev: d.major<<8 | d.minor, Mode: 0o666, Else: node})
	}
	for _, link := range devLinks {
		step(mount.Mount{Kind: mount.Symlink, Target: "/" + link[0], Source: link[1]})
	}
	data := "newinstance,ptmxmode=0666,mode=0620"
	if !p.User {
		data += ",gid=5" // tty; a user namespace does not map it
	}
	step(mount.Mount{Kind: mount.Mkdir, Target: "/pts", Mode: 0o755})
	step(mount.Mount{Kind: mount.Devpts, Target: "/pts", Flags: mount.NoSuid | mount.NoExec, Data: data})
	step(mount.Mount{Kind: mount.Mkdir, Target: "/shm", Mode: 0o1777})
}

func addRun(p *planner) {
	step := func(kind mount.Kind, target string, mode uint32) {
		p.add(mount.Mount{Kind: kind, Step: "run", Target: target, Mode: mode})
	}
	p.add(mount.Mount{Kind: mount.Tmpfs, Step: "run", Target: "/run", Mode: p.dirMode(), Flags: mount.NoSuid | mount.NoDev})
	step(mount.Mkdir, "/run/lock", 0o1777)
	step(mount.Mkdir, "/run/user", p.dirMode())
	step(mount.Mkdir, p.runUser(), 0o700)
	if p.varRunMounted() {
		p.add(mount.Mount{Kind: mount.Bind, Step: "run", Target: varRun, Source: "/run", Inside: true, Flags: mount.NoSuid | mount.NoDev})
	}
}

// runUser returns the caller's directory for run-time files.
func (p *planner) runUser() string { return "/run/user/" + strconv.Itoa(p.UID) }

// dirMode returns the mode of a directory that belongs to root on the host.
func (p *planner) dirMode() uint32 {
	if p.User {
		return 0o555 // it belongs to the caller here
	}
	return 0o755
}

// addFreshCwd shows the working directory if it is in a directory that is made new. The overlay
// hides the sockets of the host.
func addFreshCwd(p *planner) {
	if p.Cwd == "" {
		return
	}
	at := p.real(p.Cwd)
	n, isRemote := p.mountOf(at.path)
	switch {
	case !p.isFresh(at.path) && isRemote:
		p.note("the working directory %s is on %s: read-only in the world", p.Cwd, n.fstype)
		return
	case !p.isFresh(at.path):
		return
	}
	base := ""
	for _, dir := range []string{"/dev/shm", p.runUser(), "/run/lock", "/run"} {
		if at.path == dir { // made already
			p.note("the working directory %s is new in the world: it starts empty, and its changes are not listed", p.Cwd)
			return
		}
		if within(at.path, dir) && base == "" {
			base = dir
		}
	}
	if base == "" || isRemote || !at.exists || n.class() != real || p.User && n.hasBelow(at.path) {
		p.note("the working directory %s is not in the world", p.Cwd)
		return
	}
	p.mkdirs(base, at.path)
	p.overlay(at.path, at.path, at.stat, n.flags)
	p.cwdAt = at.path
}

// mkdirs makes dir and the directories between base and dir.
func (p *planner) mkdirs(base, dir string) {
	name := base
	for _, part := range strings.Split(strings.TrimPrefix(dir, base+"/"), "/") {
		name += "/" + part
		p.add(mount.Mount{Kind: mount.Mkdir, Step: "run", Target: name, Mode: 0o755})
	}
}

// findResolv finds the file that a reader of /etc/resolv.conf opens.
func findResolv(p *planner) {
	at := p.real("/etc/resolv.conf")
	n, _ := p.mountOf(at.path)
	switch {
	case !p.isFresh(at.path) && n.class() == pseudo:
		p.note("/etc/resolv.conf is on a %s, which is hidden", n.fstype)
	case at.exists && at.stat.Mode&syscall.S_IFMT == syscall.S_IFREG, within(at.path, "/run"):
		p.resolv = at.path
	case at.path != "/etc/resolv.conf":
		p.note("/etc/resolv.conf leads to %s, which cannot be replaced", at.path)
	}
}

// showResolv shows Input.Resolv in place of that file.
func showResolv(p *planner) {
	if p.resolv == "" {
		return
	}
	if within(p.resolv, "/run") {
		if dir := path.Dir(p.resolv); dir != "/run" {
			p.mkdirs("/run", dir)
		}
		p.add(mount.Mount{Kind: mount.File, Step: "run", Target: p.resolv, Mode: 0o644})
	}
	p.add(mount.Mount{
		Kind: mount.Bind, Step: "run", Target: p.resolv, Source: p.Resolv, Flags: mount.ReadOnly | sealed,
		Optional: true, // a directory that could not be listed may not have it
	})
}

// hide covers Input.Hide. Directories that are made new show nothing of it anyway.
func hide(p *planner) {
	for _, dir := range p.hidden {
		if !p.isFresh(dir) || p.cwdAt != "" && within(dir, p.cwdAt) {
			p.mask(dir, "overlay", true)
		}
	}
}
