package dns

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Port is the port of a name server.
const Port = 53

// Sockaddr returns the bytes of a struct sockaddr_in or sockaddr_in6 for a process that makes its
// own system calls: socket(2) with [Domain], then bind(2) with these bytes.
//
// Source: ip(7), "Address format"; ipv6(7), "Address format".
func Sockaddr(addr netip.AddrPort) []byte {
	ip := addr.Addr()
	b := binary.NativeEndian.AppendUint16(nil, uint16(Domain(ip)))
	b = binary.BigEndian.AppendUint16(b, addr.Port())
	if ip.Is4() {
		return append(append(b, ip.AsSlice()...), make([]byte, 8)...)
	}
	b = append(b, 0, 0, 0, 0) // flow
	return append(append(b, ip.AsSlice()...), 0, 0, 0, 0)
}

// Domain returns the address family for socket(2).
func Domain(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
