package view

import (
	"os/exec"
)

// fuseName is the program that serves the mounts of the strategy fuse.
const fuseName = "fuse-overlayfs"

// FuseProgram looks for fuse-overlayfs in PATH and where distributions install it. The error wraps
// [exec.ErrNotFound].
func FuseProgram() (string, error) {
	path, err := exec.LookPath(fuseName)
	for _, dir := range []string{"/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/bin/"} {
		if err == nil {
			break
		}
		path, err = exec.LookPath(dir + fuseName)
	}
	return path, err
}
