package config

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"substrate/internal/plain"
)

// Capability numbers and the version of the structures below.
//
// Source: capabilities(7); capget(2); linux/capability.h.
const (
	capNetAdmin      = 12
	capSysAdmin      = 21
	capVersion3      = 0x20080522
	rootCapabilities = 1<<capNetAdmin | 1<<capSysAdmin
)

// hasRootCapabilities reports whether CAP_SYS_ADMIN and CAP_NET_ADMIN are effective. It does not
// read /proc, which may be absent and takes longer.
func hasRootCapabilities() bool {
	header := struct {
		version uint32
		pid     int32
	}{version: capVersion3}
	var data [2]struct{ effective, permitted, inheritable uint32 }
	_, _, errno := syscall.RawSyscall(syscall.SYS_CAPGET,
		uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	return errno == 0 && data[0].effective&rootCapabilities == rootCapabilities
}

// firstUserns is the inode number of the user namespace that the kernel starts with.
//
// Source: Linux include/linux/proc_ns.h, PROC_USER_INIT_INO.
const firstUserns = 0xEFFFFFFD

// inFirstUserns reports whether this process is in the first user namespace. Root of another one,
// as in a rootless container, has capabilities only there, so its overlays need the same as a
// user's.
func inFirstUserns() bool {
	var st syscall.Stat_t
	return syscall.Stat("/proc/self/ns/user", &st) != nil || st.Ino == firstUserns
}

// isSelf reports whether path is the running program, also through symlinks. It does not search for
// a name without a slash.
func isSelf(path string) bool {
	if !strings.Contains(path, "/") {
		return filepath.Base(path) == "substrate"
	}
	var other, self syscall.Stat_t
	if syscall.Stat(path, &other) != nil || syscall.Stat(plain.OwnProgram, &self) != nil {
		return false
	}
	return other.Dev == self.Dev && other.Ino == self.Ino
}

// passwdHome returns the home directory of uid in /etc/passwd; "" if it is not there. It does not
// ask other user databases: that needs the C library.
//
// Source: passwd(5).
func passwdHome(uid int) string {
	text, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return ""
	}
	return homeIn(string(text), uid)
}

// homeIn returns the home directory of uid in the text of a passwd file.
func homeIn(passwd string, uid int) string {
	want := strconv.Itoa(uid)
	for line := range strings.Lines(passwd) {
		field := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(field) == 7 && field[2] == want {
			return field[5]
		}
	}
	return ""
}
