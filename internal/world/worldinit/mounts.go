package worldinit

import (
	"fmt"
	"path"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/world/mount"
)

// memoryUppers mounts the tmpfs of the uppers and makes their directories.
func (s *Setup) memoryUppers(p *Program, fds [numFDs]Reg) {
	if s.Memory == nil {
		return
	}
	p.Step("upper")
	dir := p.String(s.Memory.Dir)
	fstype := p.String("tmpfs")
	p.Call(unix.SYS_MOUNT, fstype, dir, fstype, Num(unix.MS_NODEV|unix.MS_NOSUID), p.String(s.Memory.Data))
	for _, d := range s.Memory.Dirs {
		name := p.String(d.Path)
		p.Call(unix.SYS_MKDIRAT, Num(atFDCWD), name, Num(d.Mode&0o777))
		if d.UID >= 0 {
			p.Try(unix.SYS_FCHOWNAT, Num(atFDCWD), name, Num(d.UID), Num(d.GID), Num(0))
		}
		if d.Mode&0o7000 != 0 || d.UID >= 0 {
			p.Call(unix.SYS_FCHMODAT, Num(atFDCWD), name, Num(d.Mode))
		}
	}
	fd := p.CallReg(unix.SYS_OPENAT, Num(atFDCWD), dir, Num(unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC), Num(0))
	p.set(fds[FDUpper], fd)
}

// mounts turns the mounts into ops. They keep the names of their steps. A network namespace that is made elsewhere is
// entered as late as can be, which is before the mount of a sysfs: that shows the namespace that it was mounted in.
func (s *Setup) mounts(p *Program, peer int) error {
	compiled, err := mount.CompileIn(p.bytes, path.Clean(s.Staging), s.Mounts)
	if err != nil {
		return fmt.Errorf("prepare the mounts: %w", err)
	}
	fd := p.NewReg()
	index := make([]int32, len(compiled.Calls)+1) // of the op that a call became
	first := len(p.ops)
	step := ""
	joined := !s.Network.Joins
	for i := range compiled.Calls {
		c := &compiled.Calls[i]
		index[i] = int32(len(p.ops))
		if i > 0 && c.Mount != compiled.Calls[i-1].Mount {
			s.handOver(p, peer, &s.Mounts[compiled.Calls[i-1].Mount], fd)
		}
		if name := s.Mounts[c.Mount].Step; name != step {
			if step != "" {
				s.done(p)
			}
			step = name
			if !joined && s.Mounts[c.Mount].Kind == mount.Sysfs {
				joined = true
				s.joinNet(p)
			}
			p.Step(name)
		}
		o := op{kind: opCall, nr: c.Trap, args: c.Args, wantErr: int32(c.Ignore), skip: int32(c.Skip), next: int32(c.Next), onErr: int32(c.Fail)}
		if c.UseFD {
			o.args[0], o.regMask = uintptr(fd), 1
		}
		if c.KeepFD {
			o.dst = uint8(fd) + 1
		}
		p.add(o)
	}
	index[len(compiled.Calls)] = int32(len(p.ops))
	if n := len(compiled.Calls); n > 0 {
		s.handOver(p, peer, &s.Mounts[compiled.Calls[n-1].Mount], fd)
	}
	s.done(p)
	last := len(p.ops)
	if !joined {
		s.joinNet(p)
	}
	s.awaitServed(p)
	for i := first; i < last; i++ {
		o := &p.ops[i]
		if o.kind != opCall || o.next == 0 {
			continue // not made from a call of the list
		}
		o.next, o.skip = index[o.next], index[o.skip]
		if o.onErr != mount.Stop {
			o.onErr = index[o.onErr]
		}
	}
	return nil
}

// handOver sends the device of a Fuse mount to the supervisor, who has it served, and closes it here: while anybody holds it, the
// kernel waits for answers. The next mount waits until they come.
func (s *Setup) handOver(p *Program, peer int, m *mount.Mount, fd Reg) {
	if m.Kind != mount.Fuse {
		return
	}
	msg, rights := p.descriptors(MsgFuse, mount.FuseFD)
	p.Call(unix.SYS_SENDMSG, Num(peer), p.message(msg, rights), Num(unix.MSG_NOSIGNAL))
	p.Call(unix.SYS_CLOSE, Num(mount.FuseFD))
	p.Try(unix.SYS_CLOSE, FromReg(fd))
}

// awaitServed waits until all Fuse mounts are served, or one will never be.
func (s *Setup) awaitServed(p *Program) {
	var buf unix.Statfs_t
	for i := range s.Mounts {
		if s.Mounts[i].Kind == mount.Fuse {
			p.Step(s.Mounts[i].Step)
			p.Call(unix.SYS_STATFS, p.String(path.Clean(s.Staging)+s.Mounts[i].Target), p.Bytes(make([]byte, unsafe.Sizeof(buf))))
		}
	}
}
