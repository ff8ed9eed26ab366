// Package mounttest carries out lists of mounts in the mount namespace of a test.
//
// In a world the command process executes the ops of [mount.Mount.Compile]. Tests do the same with
// [Apply] in their own process.
package mounttest

import (
	"fmt"
	"sort"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/world/mount"
	"substrate/internal/world/ops"
)

// List returns one line for each of ms, with a newline after each.
func List(ms []mount.Mount) string {
	var b strings.Builder
	for _, m := range ms {
		b.WriteString(m.String() + "\n")
	}
	return b.String()
}

// Apply carries out ms in the mount namespace of the calling process, for a world whose root
// directory is at root. What was mounted before an error stays. The error names the step, the mount
// and the cause, and wraps the [syscall.Errno] of the call that failed. The caller needs
// CAP_SYS_ADMIN over its mount namespace and must have made it private. The umask of the process is
// 0 until Apply returns.
func Apply(root string, ms []mount.Mount) error {
	p := ops.New(0)
	p.Step("mounts")
	fd := p.NewReg()
	ends := make([]int32, len(ms))
	for i := range ms {
		if err := ms[i].Compile(p, root, fd); err != nil {
			return err
		}
		ends[i] = p.Len()
	}
	defer unix.Umask(unix.Umask(0))
	failed, errno, err := run(p)
	if errno != 0 {
		m := ms[sort.Search(len(ms), func(i int) bool { return ends[i] > failed })]
		return fmt.Errorf("%s: %s at %q: %w", m.Step, m.Kind, m.Target, errno)
	}
	return err
}

// run executes the calls of p. If one ends them with an error, failed is its index.
func run(p *ops.Program) (failed int32, errno syscall.Errno, err error) {
	list := make([]ops.Op, p.Len())
	for i := range list {
		list[i] = *p.At(int32(i))
	}
	if len(list) == 0 {
		return 0, 0, nil
	}
	part, err := p.Part(0)
	if err != nil {
		return 0, 0, err
	}
	base := uintptr(ops.Base) // where the calls expect the part
	at, err := unix.MmapPtr(-1, 0, *(*unsafe.Pointer)(unsafe.Pointer(&base)), uintptr(len(part)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE)
	if err != nil {
		return 0, 0, err
	}
	defer unix.MunmapPtr(at, uintptr(len(part))) //nolint:errcheck // its only other user has ended
	copy(unsafe.Slice((*byte)(at), len(part)), part)
	var regs [ops.MaxRegs]uintptr
	var opened []uintptr
	defer func() {
		for _, fd := range opened {
			unix.Close(int(fd)) //nolint:errcheck // a detached mount has nothing to write
		}
	}()
	for i := int32(0); int(i) < len(list); {
		o := &list[i]
		args := o.Args
		if o.RegMask&1 != 0 {
			args[0] = regs[args[0]]
		}
		r, _, e := syscall.RawSyscall6(o.Nr, args[0], args[1], args[2], args[3], args[4], args[5])
		if o.Dst != 0 && e == 0 {
			regs[o.Dst-1] = r
			opened = append(opened, r)
		}
		switch {
		case e == 0 && o.Next != 0:
			i = o.Next
		case e == 0:
			i++
		case int32(e) == o.WantErr:
			i = o.Skip
		case o.OnErr != ops.Fatal:
			i = o.OnErr
		default:
			return i, e, nil
		}
	}
	return 0, 0, nil
}
