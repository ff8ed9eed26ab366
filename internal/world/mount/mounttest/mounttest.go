// Package mounttest carries out lists of mounts in the mount namespace of a test.
//
// In a world a child that must not use memory of the Go runtime executes the calls of
// [mount.Compile]. Tests do the same with [Apply] in their own process.
package mounttest

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"substrate/internal/world/mount"
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
	var keep [][]byte
	calls, err := mount.Compile(root, ms, func(n int) []byte {
		keep = append(keep, make([]byte, n))
		return keep[len(keep)-1]
	})
	if err != nil {
		return err
	}
	defer unix.Umask(unix.Umask(0))
	failed, errno := run(calls)
	runtime.KeepAlive(keep)
	if errno != 0 {
		m := ms[calls[failed].Mount]
		return fmt.Errorf("%s: %s at %q: %w", m.Step, m.Kind, m.Target, errno)
	}
	return nil
}

// run executes the calls. If one ends them with an error, failed is its index.
func run(calls []mount.Call) (failed int, errno syscall.Errno) {
	var kept []uintptr // descriptors; the last is the current one
	defer func() {
		for _, fd := range kept {
			unix.Close(int(fd)) //nolint:errcheck // a detached mount has nothing to write
		}
	}()
	for i := 0; i < len(calls); {
		c := &calls[i]
		first := c.Args[0]
		if c.UseFD {
			first = kept[len(kept)-1]
		}
		r, _, e := syscall.RawSyscall6(c.Trap, first, c.Args[1], c.Args[2], c.Args[3], c.Args[4], c.Args[5])
		if c.KeepFD && e == 0 {
			kept = append(kept, r)
		}
		switch {
		case e == 0:
			i = c.Next
		case e == c.Ignore:
			i = c.Skip
		case c.Fail != mount.Stop:
			i = c.Fail
		default:
			return i, e
		}
	}
	return 0, 0
}
