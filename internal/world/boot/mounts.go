package boot

import (
	"fmt"
	"path"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/world/mount"
)

// memoryUppers mounts the tmpfs of the uppers and makes their directories.
func (s *Setup) memoryUppers(p *program, dst Reg) {
	if s.Memory == nil {
		return
	}
	p.step("upper")
	dir := p.text(s.Memory.Dir)
	fstype := p.text("tmpfs")
	p.call(unix.SYS_MOUNT, fstype, dir, fstype, Num(unix.MS_NODEV|unix.MS_NOSUID), p.text(s.Memory.Data))
	for _, d := range s.Memory.Dirs {
		name := p.text(d.Path)
		p.call(unix.SYS_MKDIRAT, Num(atFDCWD), name, Num(d.Mode&0o777))
		if d.UID >= 0 {
			p.try(unix.SYS_FCHOWNAT, Num(atFDCWD), name, Num(d.UID), Num(d.GID), Num(0))
		}
		if d.Mode&0o7000 != 0 || d.UID >= 0 {
			p.call(unix.SYS_FCHMODAT, Num(atFDCWD), name, Num(d.Mode))
		}
	}
	fd := p.callReg(unix.SYS_OPENAT, Num(atFDCWD), dir, Num(unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC), Num(0))
	p.set(dst, fd)
}

// mounts turns the mounts into ops. They keep the names of their steps.
func (s *Setup) mounts(p *program, peer int) error {
	calls, err := mount.Compile(path.Clean(s.Staging), s.Mounts, p.bytes)
	if err != nil {
		return fmt.Errorf("prepare the mounts: %w", err)
	}
	fd := p.newReg()
	index := make([]int32, len(calls)+1) // of the op that a call became
	first := len(p.ops)
	step := ""
	for i := range calls {
		c := &calls[i]
		index[i] = int32(len(p.ops))
		if i > 0 && c.Mount != calls[i-1].Mount {
			s.handOver(p, peer, &s.Mounts[calls[i-1].Mount], fd)
		}
		if name := s.Mounts[c.Mount].Step; name != step {
			if step != "" {
				p.doneIf(s.Verbose)
			}
			step = name
			p.step(name)
		}
		o := Op{Kind: OpCall, Nr: c.Trap, Args: c.Args, WantErr: int32(c.Ignore), Skip: int32(c.Skip), Next: int32(c.Next), OnErr: int32(c.Fail)}
		if c.UseFD {
			o.Args[0], o.RegMask = uintptr(fd), 1
		}
		if c.KeepFD {
			o.Dst = uint8(fd) + 1
		}
		p.add(o)
	}
	index[len(calls)] = int32(len(p.ops))
	if n := len(calls); n > 0 {
		s.handOver(p, peer, &s.Mounts[calls[n-1].Mount], fd)
	}
	p.doneIf(s.Verbose)
	last := len(p.ops)
	s.awaitServed(p)
	for i := first; i < last; i++ {
		o := &p.ops[i]
		if o.Kind != OpCall || o.Next == 0 {
			continue // not made from a call of the list
		}
		o.Next, o.Skip = index[o.Next], index[o.Skip]
		if o.OnErr != mount.Stop {
			o.OnErr = index[o.OnErr]
		}
	}
	return nil
}

// handOver sends the device of a Fuse mount to the supervisor, who has it served, and closes it here: while anybody holds it, the
// kernel waits for answers. The next mount waits until they come.
func (s *Setup) handOver(p *program, peer int, m *mount.Mount, fd Reg) {
	if m.Kind != mount.Fuse {
		return
	}
	msg, rights := p.descriptors(MsgFuse, mount.FuseFD)
	p.call(unix.SYS_SENDMSG, Num(peer), p.message(msg, rights), Num(unix.MSG_NOSIGNAL))
	p.call(unix.SYS_CLOSE, Num(mount.FuseFD))
	p.try(unix.SYS_CLOSE, FromReg(fd))
}

// awaitServed waits until all Fuse mounts are served, or one will never be.
func (s *Setup) awaitServed(p *program) {
	var buf unix.Statfs_t
	for i := range s.Mounts {
		if s.Mounts[i].Kind == mount.Fuse {
			p.step(s.Mounts[i].Step)
			p.call(unix.SYS_STATFS, p.text(path.Clean(s.Staging)+s.Mounts[i].Target), p.data(make([]byte, unsafe.Sizeof(buf))))
		}
	}
}
