package prestart

import (
	"syscall"
	"unsafe"

	"substrate/internal/plain"
)

// Values that package syscall lacks. They are the same on amd64 and arm64.
//
// Source: linux/fcntl.h; asm-generic/unistd.h; asm-generic/signal-defs.h; linux/time.h;
// linux/wait.h.
const (
	atFdcwd       = ^uintptr(99) // -100
	atEaccess     = 0x200
	openPath      = 0x200000 // O_PATH
	sysFaccessat2 = 439
	sigBlock      = 0
	sigUnblock    = 1
	sigSetMask    = 2
	sigIgn        = 1
	realtime      = 0
	monotonic     = 1
	accessExecute = 1 // X_OK
	seekCurrent   = 1 // SEEK_CUR
	waitByPID     = 1 // P_PID
	waitGoesOn    = 8 // WCONTINUED
	setSize       = 8 // bytes of a signal set
)

// child is what the assembly of spawn reads, and where it writes its answer. The offsets of the
// fields stand there; a test compares them.
type child struct {
	path   *byte
	argv   **byte
	envp   **byte
	mask   uint64 // signals that the program shall have blocked
	failed int64  // why the program could not be executed: -errno, or 0
}

// spawnFunc starts a child that shares our memory until it executes its program, as vfork(2) does.
// It returns the child's process id, or -errno.
type spawnFunc func(*child) int64

// callFunc makes a system call with up to four arguments. A negative result is -errno.
type callFunc func(number, a, b, c, d uintptr) int

// call is set first of all. It is not a function of another package, because that would lie in
// another part of the program, which would have to be mapped.
var call callFunc

// retry makes a system call again as long as a signal interrupts it.
func retry(number, a, b, c, d uintptr) int {
	for {
		if r := call(number, a, b, c, d); r != -int(syscall.EINTR) {
			return r
		}
	}
}

// address is what a system call takes for a pointer. Nothing here ever moves.
func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

// at is element i of a list of C strings; nil is the end of it.
func at(list **byte, i int) *byte {
	return *after(list, i)
}

// after is the list without its first n elements.
func after(list **byte, n int) **byte {
	return (**byte)(unsafe.Add(unsafe.Pointer(list), n*int(unsafe.Sizeof(list))))
}

// text is the C string at p, which is not copied.
func text(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return unsafe.String(p, n)
}

// literal is the C string that a constant holds: s ends with a zero.
func literal(s string) *byte { return unsafe.StringData(s) }

// sameFile reports whether both are one file.
func sameFile(a, b *syscall.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

// stat asks for the file at path, a C string.
func stat(path *byte, st *syscall.Stat_t) int {
	return retry(sysFstatat, atFdcwd, address(path), address(st), 0)
}

// readlink puts what the symbolic link at path holds into a buffer, and gives its length or -errno.
func readlink(path *byte, into *plain.Buffer) int {
	n := retry(syscall.SYS_READLINKAT, atFdcwd, address(path), address(into.Reset(0).CString()), uintptr(cap(into.Bytes)-1))
	if n >= 0 {
		into.Reset(n)
	}
	return n
}

// clock reads a clock.
func clock(which uintptr) (t syscall.Timespec) {
	call(syscall.SYS_CLOCK_GETTIME, which, address(&t), 0, 0)
	return t
}
