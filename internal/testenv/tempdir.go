package testenv

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TempDir returns t.TempDir for tests that mount in it. Before the directory is removed, every mount in
// it is detached, the latest first, so that the removal cannot reach into one. Other users may enter it.
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
		err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // gone with the one above it
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
