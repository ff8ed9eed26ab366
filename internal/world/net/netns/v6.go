package netns

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// V6Enabled reports whether a new network namespace will have IPv6. It is false if the kernel was
// built or started without IPv6 (ipv6.disable=1) or disables it on interfaces
// (ipv6.disable_ipv6=1). The sysctl disable_ipv6 of the host counts only if new namespaces inherit
// it.
//
// Source: Linux Documentation/networking/ipv6.rst; Documentation/admin-guide/sysctl/net.rst,
// "devconf_inherit_init_net".
func V6Enabled() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd) //nolint:errcheck // nothing was written
	if firstByte("/sys/module/ipv6/parameters/disable_ipv6") == '1' {
		return false
	}
	switch firstByte("/proc/sys/net/core/devconf_inherit_init_net") {
	case '1', '3':
		return firstByte("/proc/sys/net/ipv6/conf/all/disable_ipv6") != '1' &&
			firstByte("/proc/sys/net/ipv6/conf/default/disable_ipv6") != '1'
	}
	return true
}

// firstByte returns the first byte of a file, 0 if it cannot be read.
func firstByte(path string) byte {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) // an os.File takes three times as long
	if err != nil {
		return 0
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	var b [1]byte
	if n, err := unix.Read(fd, b[:]); n != 1 || err != nil {
		return 0
	}
	return b[0]
}
