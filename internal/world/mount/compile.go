package mount

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/world/ops"
)

// Compile appends the calls of m to p, then those of its alternatives, and ties them together. The
// root directory of the world will be at root, an absolute path on the host. fd is a register for a
// descriptor. Compile makes no system call. An error means that m cannot be expressed.
func (m *Mount) Compile(p *ops.Program, root string, fd ops.Reg) error {
	if !path.IsAbs(root) {
		return fmt.Errorf("root of the world %s: not an absolute path", quote(root))
	}
	c := compiler{p, strings.TrimRight(root, "/"), fd}
	if err := c.mount(m); err != nil {
		return fmt.Errorf("%s %s: %w", m.Kind, quote(m.Target), err)
	}
	return nil
}

// compiler is where the calls of a mount go.
type compiler struct {
	*ops.Program
	root string // without a slash at the end
	fd   ops.Reg
}

func (c compiler) mount(m *Mount) error {
	begin := c.Len()
	if err := c.calls(m); err != nil {
		return err
	}
	if m.MayVanish {
		c.At(begin).WantErr = int32(unix.ENOENT)
	}
	own := c.Len()
	for i := range m.Else {
		other := m.Else[i]
		other.Optional = other.Optional || m.Optional
		if err := c.mount(&other); err != nil {
			return err
		}
	}
	end := c.Len()
	for i := begin; i < own; i++ {
		o := c.At(i)
		o.Skip = end
		if o.Next == own || o.Next == 0 && i == own-1 {
			o.Next = end
		}
		switch {
		case o.OnErr != ops.Fatal:
		case len(m.Else) > 0:
			o.OnErr = own
		case m.Optional:
			o.OnErr = end
		}
	}
	return nil
}

// calls adds the calls of m itself.
func (c compiler) calls(m *Mount) error {
	if err := check(m); err != nil {
		return err
	}
	target := c.Text(c.root + m.Target)
	switch m.Kind {
	case Overlay:
		data, err := m.OverlayData()
		if err != nil {
			return err
		}
		c.fs(m, "overlay", target, data)
	case Tmpfs:
		data := fmt.Sprintf("mode=%04o", m.Mode)
		if m.Data != "" {
			data += "," + m.Data
		}
		c.fs(m, "tmpfs", target, data)
	case Proc, Sysfs, Devpts:
		c.fs(m, m.Kind.String(), target, m.Data)
	case Bind:
		c.Call(unix.SYS_MOUNT, c.source(m), target, none, ops.Num(unix.MS_BIND))
		c.restrict(m, target)
	case RBind:
		c.rbind(m, target)
	case Remount:
		c.restrict(m, target)
	case Fuse:
		c.fuse(m, target)
	case Mkdir:
		c.make(unix.SYS_MKDIRAT, ops.CWD, target, ops.Num(m.Mode))
	case Symlink:
		c.make(unix.SYS_SYMLINKAT, c.Text(m.Source), ops.CWD, target)
	case File:
		mode := m.Mode
		if mode&unix.S_IFMT == 0 {
			mode |= unix.S_IFREG
		}
		c.make(unix.SYS_MKNODAT, ops.CWD, target, ops.Num(mode))
	case Device:
		c.make(unix.SYS_MKNODAT, ops.CWD, target, ops.Num(m.Mode|unix.S_IFCHR), ops.Num(m.Dev))
	default:
		return errors.New("unknown kind of mount")
	}
	return nil
}

// check finds what would make a call that means something else.
func check(m *Mount) error {
	for _, s := range []string{m.Target, m.Source, m.Lower, m.Upper, m.Work, m.Data} {
		if strings.IndexByte(s, 0) >= 0 {
			return errors.New("name with a zero byte")
		}
	}
	if !path.IsAbs(m.Target) || path.Clean(m.Target) != m.Target {
		return errors.New("target is not a clean absolute path")
	}
	if (m.Kind == Bind || m.Kind == RBind) && !path.IsAbs(m.Source) {
		return fmt.Errorf("source %s is not an absolute path", quote(m.Source))
	}
	if m.Kind == Overlay && !(path.IsAbs(m.Lower) && path.IsAbs(m.Upper) && path.IsAbs(m.Work)) {
		return errors.New("lower, upper and work must be absolute paths")
	}
	return nil
}

// none is a null pointer as an argument.
var none = ops.Num(0)

// make appends a call that makes a file; an existing one is good as well.
func (c compiler) make(nr uintptr, args ...ops.Arg) {
	c.Call(nr, args...).WantErr = int32(unix.EEXIST)
}

// source returns the address of the path that m binds.
func (c compiler) source(m *Mount) ops.Arg {
	if m.Inside {
		return c.Text(c.root + m.Source)
	}
	return c.Text(m.Source)
}

// fs adds the mount of a file system of its own.
func (c compiler) fs(m *Mount, fstype string, target ops.Arg, data string) {
	name := c.Text(fstype)
	options := none
	if data != "" {
		options = c.Text(data)
	}
	c.Call(unix.SYS_MOUNT, name, target, name, ops.Num(m.Flags.mountFlags()), options)
}

// FuseFD is the number of the descriptor that a Fuse mount leaves open: far from all that a process
// has open.
const FuseFD = 1000

// fuse adds the mount of a FUSE file system. The device is opened here and not by who serves it,
// because the kernel wants it opened in the user namespace of the mount. Nobody serves it yet: what
// comes after waits for that in the kernel.
//
// Source: Linux fs/fuse/inode.c, fuse_get_tree; Documentation/filesystems/fuse/fuse.rst, "Mount
// options".
func (c compiler) fuse(m *Mount, target ops.Arg) {
	c.Call(unix.SYS_OPENAT, ops.CWD, c.Text("/dev/fuse"), ops.Num(unix.O_RDWR|unix.O_CLOEXEC)).To(c.fd)
	c.Call(unix.SYS_DUP3, ops.FromReg(c.fd), ops.Num(FuseFD), ops.Num(unix.O_CLOEXEC))
	data := fmt.Sprintf("fd=%d,rootmode=40000", FuseFD)
	if m.Data != "" {
		data += "," + m.Data
	}
	name := c.Text("fuse-overlayfs")
	c.Call(unix.SYS_MOUNT, name, target, c.Text("fuse"), ops.Num(m.Flags.mountFlags()), c.Text(data))
}

// restrict adds m.Flags to the mount at target. Kernels without mount_setattr (before Linux 5.12)
// take a remount, which sets exactly the given flags; layout therefore names those of the source as
// well.
func (c compiler) restrict(m *Mount, target ops.Arg) {
	if m.Flags == 0 {
		return
	}
	attr, size := c.attr(m.Flags)
	remount := c.Len() + 1
	setattr := c.Call(unix.SYS_MOUNT_SETATTR, ops.CWD, target, ops.Num(unix.AT_SYMLINK_NOFOLLOW), attr, size)
	setattr.OnErr, setattr.Next = remount, remount+1
	c.Call(unix.SYS_MOUNT, none, target, none, ops.Num(unix.MS_REMOUNT|unix.MS_BIND|m.Flags.mountFlags()))
}

// rbind adds a recursive bind. The copy is made and restricted before it is attached, so no moment
// shows it writable. Neither the walk to the source nor the copy asks the file system itself
// anything.
func (c compiler) rbind(m *Mount, target ops.Arg) {
	open := unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE | unix.AT_NO_AUTOMOUNT
	c.Call(unix.SYS_OPEN_TREE, ops.CWD, c.source(m), ops.Num(open)).To(c.fd)
	empty := c.Text("")
	if m.Flags != 0 {
		attr, size := c.attr(m.Flags)
		how := unix.AT_EMPTY_PATH | unix.AT_RECURSIVE
		c.Call(unix.SYS_MOUNT_SETATTR, ops.FromReg(c.fd), empty, ops.Num(how), attr, size)
	}
	c.Call(unix.SYS_MOVE_MOUNT, ops.FromReg(c.fd), empty, ops.CWD, target, ops.Num(unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// attr returns the address and size of a struct mount_attr that sets f.
func (c compiler) attr(f Flags) (address, size ops.Arg) {
	var set uint64
	for i, bit := range []uint64{unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_NOSUID, unix.MOUNT_ATTR_NODEV, unix.MOUNT_ATTR_NOEXEC} {
		if f&(1<<i) != 0 {
			set |= bit
		}
	}
	return c.Words(ops.Num(set), none, none, none), ops.Num(unsafe.Sizeof(unix.MountAttr{}))
}

// mountFlags returns f as flags of mount(2).
func (f Flags) mountFlags() uintptr {
	var flags uintptr
	for i, bit := range []uintptr{unix.MS_RDONLY, unix.MS_NOSUID, unix.MS_NODEV, unix.MS_NOEXEC} {
		if f&(1<<i) != 0 {
			flags |= bit
		}
	}
	return flags
}
