package dns

import (
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestSockaddr binds to prepared addresses and asks the kernel what it understood.
func TestSockaddr(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		want := netip.MustParseAddr(host)
		fd, err := unix.Socket(Domain(want), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := bind(fd, Sockaddr(netip.AddrPortFrom(want, 0))); err != nil {
			t.Fatalf("bind to %s: %v", host, err)
		}
		sa, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		var got netip.Addr
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			got = netip.AddrFrom4(sa.Addr)
		case *unix.SockaddrInet6:
			got = netip.AddrFrom16(sa.Addr)
		}
		if got != want {
			t.Errorf("bound to %v, want %v", got, want)
		}
	}
}

// bind is bind(2) with the bytes of a socket address.
func bind(fd int, addr []byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&addr[0])), uintptr(len(addr))); errno != 0 {
		return errno
	}
	return nil
}
