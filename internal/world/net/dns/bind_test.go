package dns

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// bind is bind(2) with the bytes of a socket address.
func bind(fd int, addr []byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&addr[0])), uintptr(len(addr))); errno != 0 {
		return errno
	}
	return nil
}
