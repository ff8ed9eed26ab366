package boot

import (
	"fmt"
	"path"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/world/mount"
	"substrate/internal/world/ops"
)

// memoryUppers mounts the tmpfs of the uppers and makes their directories.
func (s *Setup) memoryUppers(p *ops.Program, dst ops.Reg) {
	if s.Memory == nil {
		return
	}
	p.Step("upper")
	dir := p.Text(s.Memory.Dir)
	fstype := p.Text("tmpfs")
	p.Call(unix.SYS_MOUNT, fstype, dir, fstype, ops.Num(unix.MS_NODEV|unix.MS_NOSUID), p.Text(s.Memory.Data))
	for _, d := range s.Memory.Dirs {
		name := p.Text(d.Path)
		p.Call(unix.SYS_MKDIRAT, ops.CWD, name, ops.Num(d.Mode&0o777))
		if d.UID >= 0 {
			p.Try(unix.SYS_FCHOWNAT, ops.CWD, name, ops.Num(d.UID), ops.Num(d.GID), ops.Num(0))
		}
		if d.Mode&0o7000 != 0 || d.UID >= 0 {
			p.Call(unix.SYS_FCHMODAT, ops.CWD, name, ops.Num(d.Mode))
		}
	}
	fd := p.CallReg(unix.SYS_OPENAT, ops.CWD, dir, ops.Num(unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC), ops.Num(0))
	set(p, dst, fd)
}

// mounts turns the mounts into ops. They keep the names of their steps.
func (s *Setup) mounts(p *ops.Program) error {
	fd := p.NewReg()
	for i := range s.Mounts {
		m := &s.Mounts[i]
		if i > 0 && m.Step != s.Mounts[i-1].Step {
			doneIf(p, s.Verbose)
		}
		p.Step(m.Step)
		if err := m.Compile(p, path.Clean(s.Staging), fd); err != nil {
			return fmt.Errorf("prepare the mounts: %w", err)
		}
		if m.Kind == mount.Fuse {
			handOver(p, fd)
		}
	}
	doneIf(p, s.Verbose)
	s.awaitServed(p)
	return nil
}

// handOver sends the device of a Fuse mount to the supervisor, which has it served, and closes it
// here: while anybody holds it, the kernel waits for answers. The next mount waits until they come.
func handOver(p *ops.Program, fd ops.Reg) {
	msg, rights := descriptors(p, MsgFuse, mount.FuseFD)
	p.Call(unix.SYS_SENDMSG, ops.FromReg(regSocket), message(p, msg, rights, 1), ops.Num(unix.MSG_NOSIGNAL))
	p.Call(unix.SYS_CLOSE, ops.Num(mount.FuseFD))
	p.Try(unix.SYS_CLOSE, ops.FromReg(fd))
}

// awaitServed waits until all Fuse mounts are served, or one will never be.
func (s *Setup) awaitServed(p *ops.Program) {
	for i := range s.Mounts {
		if s.Mounts[i].Kind == mount.Fuse {
			p.Step(s.Mounts[i].Step)
			p.Call(unix.SYS_STATFS, p.Text(path.Clean(s.Staging)+s.Mounts[i].Target), p.Zeros(int(unsafe.Sizeof(unix.Statfs_t{}))))
		}
	}
}
