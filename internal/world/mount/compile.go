package mount

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is one prepared system call. Its pointers point into memory that the caller of [Compile]
// keeps.
type Call struct {
	Trap   uintptr
	Args   [6]uintptr
	Mount  int           // which of the compiled mounts this call belongs to
	KeepFD bool          // the result is a descriptor for the calls that follow
	UseFD  bool          // put that descriptor into Args[0]
	Ignore syscall.Errno // a failure that ends this mount well: EEXIST; 0 for none
	Skip   int           // the call to go on with after that failure
	Next   int           // the call to go on with after success
	Fail   int           // the call to go on with after a failure; Stop to end with the error
}

// Stop as Call.Fail ends the program with an error.
const Stop = -1

// Compile prepares ms for a world whose root directory will be at root, an absolute path on the
// host. It makes no system call. The calls point into zeroed pieces of memory that alloc returns. A
// piece is aligned for any type and must stay until the calls have run. The error names the mount
// that cannot be expressed.
func Compile(root string, ms []Mount, alloc func(n int) []byte) ([]Call, error) {
	if !path.IsAbs(root) {
		return nil, fmt.Errorf("root of the world %s: not an absolute path", quote(root))
	}
	c := compiler{root: strings.TrimRight(root, "/"), made: make([]Call, 0, 2*len(ms)), alloc: alloc}
	for i := range ms {
		c.index = i
		if err := c.mount(&ms[i]); err != nil {
			return nil, fmt.Errorf("%s %s: %w", ms[i].Kind, quote(ms[i].Target), err)
		}
	}
	return c.made, nil
}

// compiler is a list of calls under construction.
type compiler struct {
	root  string // without a slash at the end
	made  []Call
	alloc func(n int) []byte
	index int // of the mount that is being compiled
}

// mount adds the calls of m, then those of its alternatives, and ties them together.
func (c *compiler) mount(m *Mount) error {
	begin := len(c.made)
	if err := c.calls(m); err != nil {
		return err
	}
	if m.MayVanish {
		c.made[begin].Ignore = unix.ENOENT
	}
	own := len(c.made)
	for i := range m.Else {
		other := m.Else[i]
		other.Optional = other.Optional || m.Optional
		if err := c.mount(&other); err != nil {
			return err
		}
	}
	end := len(c.made)
	for i := begin; i < own; i++ {
		call := &c.made[i]
		call.Skip = end
		if call.Next == own {
			call.Next = end
		}
		if call.Fail != Stop {
			continue
		}
		if len(m.Else) > 0 {
			call.Fail = own
		} else if m.Optional {
			call.Fail = end
		}
	}
	return nil
}

// calls adds the calls of m itself.
func (c *compiler) calls(m *Mount) error {
	if err := check(m); err != nil {
		return err
	}
	target := c.str(c.root + m.Target)
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
		c.add(Call{Trap: unix.SYS_MOUNT, Args: [6]uintptr{c.source(m), target, 0, unix.MS_BIND}})
		c.restrict(m, target)
	case RBind:
		c.rbind(m, target)
	case Remount:
		c.restrict(m, target)
	case Fuse:
		c.fuse(m, target)
	case Mkdir:
		c.add(Call{Trap: unix.SYS_MKDIRAT, Args: [6]uintptr{cwd, target, uintptr(m.Mode)}, Ignore: unix.EEXIST})
	case Symlink:
		c.add(Call{Trap: unix.SYS_SYMLINKAT, Args: [6]uintptr{c.str(m.Source), cwd, target}, Ignore: unix.EEXIST})
	case File:
		mode := m.Mode
		if mode&unix.S_IFMT == 0 {
			mode |= unix.S_IFREG
		}
		c.add(Call{Trap: unix.SYS_MKNODAT, Args: [6]uintptr{cwd, target, uintptr(mode)}, Ignore: unix.EEXIST})
	case Device:
		c.add(Call{Trap: unix.SYS_MKNODAT, Args: [6]uintptr{cwd, target, uintptr(m.Mode | unix.S_IFCHR), uintptr(m.Dev)}, Ignore: unix.EEXIST})
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

// cwd is AT_FDCWD as an argument; all paths are absolute.
const cwd = ^uintptr(-unix.AT_FDCWD - 1)

// add appends a call that belongs to the current mount and is followed by the next one.
func (c *compiler) add(call Call) {
	call.Mount = c.index
	call.Next = len(c.made) + 1
	call.Fail = Stop
	c.made = append(c.made, call)
}

// str returns the address of s with a zero byte at its end.
func (c *compiler) str(s string) uintptr {
	b := c.alloc(len(s) + 1)
	copy(b, s)
	return uintptr(unsafe.Pointer(&b[0]))
}

// source returns the address of the path that m binds.
func (c *compiler) source(m *Mount) uintptr {
	if m.Inside {
		return c.str(c.root + m.Source)
	}
	return c.str(m.Source)
}

// fs adds the mount of a file system of its own.
func (c *compiler) fs(m *Mount, fstype string, target uintptr, data string) {
	name := c.str(fstype)
	args := [6]uintptr{name, target, name, m.Flags.mountFlags(), 0}
	if data != "" {
		args[4] = c.str(data)
	}
	c.add(Call{Trap: unix.SYS_MOUNT, Args: args})
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
func (c *compiler) fuse(m *Mount, target uintptr) {
	c.add(Call{Trap: unix.SYS_OPENAT, Args: [6]uintptr{cwd, c.str("/dev/fuse"), unix.O_RDWR | unix.O_CLOEXEC}, KeepFD: true})
	c.add(Call{Trap: unix.SYS_DUP3, Args: [6]uintptr{0, FuseFD, unix.O_CLOEXEC}, UseFD: true})
	data := fmt.Sprintf("fd=%d,rootmode=40000", FuseFD)
	if m.Data != "" {
		data += "," + m.Data
	}
	name := c.str("fuse-overlayfs")
	c.add(Call{Trap: unix.SYS_MOUNT, Args: [6]uintptr{name, target, c.str("fuse"), m.Flags.mountFlags(), c.str(data)}})
}

// restrict adds m.Flags to the mount at target. Kernels without mount_setattr (before Linux 5.12)
// take a remount, which sets exactly the given flags; layout therefore names those of the source as
// well.
func (c *compiler) restrict(m *Mount, target uintptr) {
	if m.Flags == 0 {
		return
	}
	attr, size := c.attr(m.Flags)
	c.add(Call{Trap: unix.SYS_MOUNT_SETATTR, Args: [6]uintptr{cwd, target, unix.AT_SYMLINK_NOFOLLOW, attr, size}})
	setattr := &c.made[len(c.made)-1]
	setattr.Fail, setattr.Next = setattr.Next, setattr.Next+1
	c.add(Call{Trap: unix.SYS_MOUNT, Args: [6]uintptr{0, target, 0, unix.MS_REMOUNT | unix.MS_BIND | m.Flags.mountFlags()}})
}

// rbind adds a recursive bind. The copy is made and restricted before it is attached, so no moment
// shows it writable. Neither the walk to the source nor the copy asks the file system itself
// anything.
func (c *compiler) rbind(m *Mount, target uintptr) {
	open := unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE | unix.AT_NO_AUTOMOUNT
	c.add(Call{Trap: unix.SYS_OPEN_TREE, Args: [6]uintptr{cwd, c.source(m), uintptr(open)}, KeepFD: true})
	empty := c.str("")
	if m.Flags != 0 {
		attr, size := c.attr(m.Flags)
		how := unix.AT_EMPTY_PATH | unix.AT_RECURSIVE
		c.add(Call{Trap: unix.SYS_MOUNT_SETATTR, Args: [6]uintptr{0, empty, uintptr(how), attr, size}, UseFD: true})
	}
	c.add(Call{Trap: unix.SYS_MOVE_MOUNT, Args: [6]uintptr{0, empty, cwd, target, unix.MOVE_MOUNT_F_EMPTY_PATH}, UseFD: true})
}

// attr returns the address and size of a struct mount_attr that sets f.
func (c *compiler) attr(f Flags) (uintptr, uintptr) {
	b := c.alloc(int(unsafe.Sizeof(unix.MountAttr{})))
	attr := (*unix.MountAttr)(unsafe.Pointer(&b[0]))
	for i, bit := range []uint64{unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_NOSUID, unix.MOUNT_ATTR_NODEV, unix.MOUNT_ATTR_NOEXEC} {
		if f&(1<<i) != 0 {
			attr.Attr_set |= bit
		}
	}
	return uintptr(unsafe.Pointer(attr)), unsafe.Sizeof(*attr)
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
