package world

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

// WLD8: when Close returns, the world no longer holds a mount of the host: it can be unmounted at
// once.
func TestUnmountAfterClose(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		a := newArena(t)
		dir := a.work + "/mounted"
		must(t, os.Mkdir(dir, 0o755))
		for range 20 {
			must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
			if _, res := a.sh("echo x >mounted/f"); res.Exit != 0 {
				t.Errorf("status %d", res.Exit)
			}
			if err := unix.Unmount(dir, 0); err != nil {
				t.Errorf("unmount what the world had in its view: %v", err)
				must(t, unix.Unmount(dir, unix.MNT_DETACH))
			}
		}
	})
}
