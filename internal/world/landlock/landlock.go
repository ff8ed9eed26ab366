// Package landlock keeps a thread, and what it starts, from writing outside chosen directories.
//
// It needs no privilege and no namespace, so it is what is left where neither can be had. It restricts what is opened from then on:
// descriptors that are open already stay as they are. It cannot restrict everything that a write is to people: modes, owners, times and
// extended attributes can still be changed everywhere, and reading is not restricted here at all.
//
// Words: a ruleset is what the kernel is given, a right is a kind of access, and a version says which rights a kernel knows.
package landlock

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
)

// Rules is what may still be written.
type Rules struct {
	Trees []string // directories in which everything is allowed but to make devices
	Files []string // files that may be opened for writing; those that are not there are left out
}

// Version returns the version of Landlock that the kernel speaks. The error is a [probe.Error] where there is none.
//
// Source: Linux Documentation/userspace-api/landlock.rst, "Compatibility" (Linux 5.13).
func Version() (int, error) {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, &probe.Error{What: "use Landlock", Err: errno, Remedy: "boot Linux 5.13 or newer with landlock in the boot parameter lsm="}
	}
	return int(v), nil
}

// The rights that writing takes. Truncating and moving between directories were separated later: a kernel that does not know the first
// counts it as no right at all, and one that does not know the second refuses it everywhere.
const (
	writeTree = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	// makeDevice is allowed nowhere: a device leads out of every tree, and who may make one is root without a mount namespace.
	makeDevice = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
	writeFile  = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// handled returns the rights that a version knows, of those that writing takes.
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

// Gaps says in words what Restrict leaves open with that version, besides what no version can close.
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

// Restrict restricts the calling thread and all that it starts, for good. The thread also gives up gaining privileges by executing
// programs (no_new_privs). From version 6 on it cannot signal processes outside or reach their abstract sockets either.
// The caller has locked the thread and never unlocks it.
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
		size = unsafe.Offsetof(attr.Quiet_access_fs) // a kernel takes no more than it knows
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
