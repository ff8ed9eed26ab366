package mount

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Apply carries out ms in the mount namespace of the calling process, for a world whose root directory
// is at root. What was mounted before an error stays: the namespace is thrown away by then. The error
// wraps the [syscall.Errno] of the call that failed.
// The caller needs CAP_SYS_ADMIN over its mount namespace, must have made it private, and
// must not make files in another thread meanwhile: the umask of the process is 0 until Apply returns.
func Apply(root string, ms []Mount) error {
	p, err := Compile(root, ms)
	if err != nil {
		return err
	}
	defer unix.Umask(unix.Umask(0))
	i, errno := p.Exec()
	runtime.KeepAlive(p)
	if errno != 0 {
		return Failure(ms, i, errno)
	}
	return nil
}

// Failure returns the error for what [Program.Exec] returned, err being its errno.
func Failure(ms []Mount, i int, err error) error {
	if i < 0 || i >= len(ms) {
		return fmt.Errorf("mount: %w", err)
	}
	return fmt.Errorf("%s: %s at %s: %w", ms[i].Step, ms[i].Kind, quote(ms[i].Target), err)
}
