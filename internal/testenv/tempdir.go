package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TempDir returns t.TempDir for tests that mount in it. Every mount in the directory is detached
// before it is removed, the latest first, so that the removal cannot reach into one. Other users
// may enter it.
func TempDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		t.Helper()
		if err := detachBelow(dir); err != nil {
			t.Fatalf("detach mounts below %s: %v", dir, err)
		}
	})
	return dir
}

// Image returns a directory with a fresh file system of 512 MB, of type ext4, xfs or btrfs. It goes
// with the test; the caller must be in a mount namespace of [InRoot] or [In]. Image skips the test
// where the kernel or the programs do not know the type.
func Image(t testing.TB, fsType string) string {
	t.Helper()
	NeedProgram(t, "mkfs."+fsType)
	image, dir := filepath.Join(t.TempDir(), "image"), TempDir(t)
	err := os.WriteFile(image, nil, 0o600)
	if err == nil {
		err = os.Truncate(image, 512<<20)
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs."+fsType, "-q", image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.%s: %v\n%s", fsType, err, out)
	}
	if out, err := exec.Command("mount", "-t", fsType, "-o", "loop", image, dir).CombinedOutput(); err != nil {
		Skip(t, fmt.Sprintf("needs %s on a loop device: %v: %s", fsType, err, out))
	}
	return dir
}

// detachBelow detaches every mount at or below dir.
func detachBelow(dir string) error {
	lines := readLines("/proc/self/mountinfo")
	for i := len(lines) - 1; i >= 0; i-- {
		fields := strings.Fields(lines[i])
		if len(fields) < 5 {
			continue
		}
		point := unescape(fields[4])
		if point != dir && !strings.HasPrefix(point, dir+"/") {
			continue
		}
		// A mount goes with its parent.
		err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

// unescape undoes the octal escapes of proc_pid_mountinfo(5).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
