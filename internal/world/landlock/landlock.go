// Package landlock prevents a thread, and what it starts, from writing outside chosen directories.
//
// It needs no privilege and no namespace, so it is used where neither is available. It restricts
// what is opened later; open descriptors stay as they are. It does not restrict reading, and it
// cannot restrict changes of modes, owners, times and extended attributes.
//
// Words: a ruleset is a set of rules for the kernel, a right is a kind of access, and the version
// says which rights a kernel knows.
//
// The three system calls are made by hand: go-landlock would make the program 0.24 MB larger.
package landlock

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
)

// Rules says what may still be written.
type Rules struct {
	Trees []string // directories in which everything is allowed except to make devices
	Files []string // files that may be opened for writing; they need not exist
}

// Version returns the version of Landlock in the kernel. The error is a [probe.Error] if there is
// no Landlock.
//
// Source: Linux Documentation/userspace-api/landlock.rst, "Compatibility" (Linux 5.13).
func Version() (int, error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, &probe.Error{What: "use Landlock", Err: errno, Remedy: "boot Linux 5.13 or newer with landlock in the boot parameter lsm="}
	}
	return int(v), nil
}

// The rights that writing takes. Rights to truncate files and to move them between directories came
// later. A kernel without the first allows truncating; a kernel without the second refuses every
// such move.
const (
	writeTree = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	// makeDevice is never allowed: a device leads out of every tree, and a command that may make
	// one is root without a mount namespace.
	makeDevice = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
	writeFile  = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// handled returns the rights for writing that a version knows.
func handled(version int) uint64 {
	rights := uint64(writeTree)
	if version >= 2 {
		rights |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if version >= 3 {
		rights |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	return rights
}

// Gaps lists what Restrict does not restrict with that version, besides what no version restricts.
func Gaps(version int) []string {
	var gaps []string
	if version < 2 {
		gaps = append(gaps, "nothing can be moved from one directory to another")
	}
	if version < 3 {
		gaps = append(gaps, "files outside can be truncated")
	}
	if version < 6 {
		gaps = append(gaps, "processes outside can be signalled")
	}
	return gaps
}

// Restrict restricts the calling thread and all that it starts, for good. The thread also sets
// no_new_privs: it gains no privileges by executing programs. Since version 6 it cannot signal
// processes outside or reach their abstract sockets either. The caller has locked the thread and
// never unlocks it.
//
// Source: landlock_restrict_self(2); landlock.rst, "Filesystem flags", "Scope flags".
func (r *Rules) Restrict() error {
	version, err := Version()
	if err != nil {
		return err
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: handled(version)}
	size := unsafe.Sizeof(attr.Handled_access_fs)
	if version >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
		size = unsafe.Offsetof(attr.Quiet_access_fs) // the kernel refuses a struct that is larger than the one it knows
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return os.NewSyscallError("landlock_create_ruleset", errno)
	}
	defer unix.Close(int(fd))
	for _, tree := range r.Trees {
		if err := allow(int(fd), tree, attr.Handled_access_fs&^makeDevice); err != nil {
			return err
		}
	}
	for _, file := range r.Files {
		if err := allow(int(fd), file, attr.Handled_access_fs&writeFile); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return os.NewSyscallError("landlock_restrict_self", errno)
	}
	return nil
}

// allow adds a rule.
func allow(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("allow writing to %s: %w", path, errno)
	}
	return nil
}
