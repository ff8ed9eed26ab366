// Package netns makes the network of a world that has no way out.
//
// A new network namespace has only the interface lo, which is down. [Batch] returns the requests
// that bring it up, give the world an address and add default routes over lo. With these routes
// every packet reaches the rules of package nft, which see its destination; without them connect(2)
// would fail before that. Nothing can leave, whatever the rules say: there is no other interface.
//
// A namespace exists as long as a process or a file holds it. [Bind] gives root a file under
// /run/netns, so that ip-netns(8) can list and enter it. The namespace itself is made when the init
// process of a world is cloned, and its rules by package nft.
package netns

import (
	"net/netip"

	"substrate/internal/world/net/netlink"

	"golang.org/x/sys/unix"
)

// The addresses of a world, on its lo. The rules let traffic to them pass.
var (
	Addr4 = netip.AddrFrom4([4]byte{10, 250, 0, 1})
	Addr6 = netip.AddrFrom16([16]byte{0: 0xfd, 15: 1})
)

// Loopback is the index of lo, the first interface of a network namespace.
//
// Source: Linux include/net/net_namespace.h, LOOPBACK_IFINDEX.
const Loopback = 1

// Addrs returns the world's own addresses: [Addr4], and with v6 also [Addr6].
func Addrs(v6 bool) []netip.Addr {
	if v6 {
		return []netip.Addr{Addr4, Addr6}
	}
	return []netip.Addr{Addr4}
}

// Batch returns the rtnetlink requests that configure a new network namespace: lo up, the world's
// addresses, routes to everywhere over lo; without v6 only those of IPv4. Send it in one sendto(2)
// on a NETLINK_ROUTE socket made inside the namespace.
//
// Only the last message asks for an acknowledgement, see [netlink.Ack]. The kernel still carries
// out messages that follow one that failed. The requests replace what is there, so Batch(false) may
// follow a Batch(true) that failed because there is no IPv6.
//
// Source: rtnetlink(7), RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE.
func Batch(v6 bool) []byte {
	var b netlink.Batch
	b.Grow(352)
	up(&b, 0)
	address(&b, Addr4)
	if v6 {
		local4(&b, 0)
		address(&b, Addr6)
		local6(&b)
		default6(&b, netlink.Ack)
	} else {
		local4(&b, netlink.Ack)
	}
	return b.Bytes()
}

// LoopbackOnly returns the request that only brings lo up, for a world whose rules could not be
// installed: every other connect(2) fails there with ENETUNREACH.
func LoopbackOnly() []byte {
	var b netlink.Batch
	up(&b, netlink.Ack)
	return b.Bytes()
}

// up brings lo up.
func up(b *netlink.Batch, flags uint16) {
	b.Message(unix.RTM_NEWLINK, flags)
	b.Raw(unix.AF_UNSPEC, 0, 0, 0) // struct ifinfomsg: family, type
	b.Raw(native(Loopback)...)
	b.Raw(native(unix.IFF_UP)...) // flags
	b.Raw(native(unix.IFF_UP)...) // which of them to change
}

// address adds addr, alone in its network, to lo.
func address(b *netlink.Batch, addr netip.Addr) {
	family, flags := byte(unix.AF_INET), byte(0)
	if addr.Is6() {
		family, flags = unix.AF_INET6, unix.IFA_F_NODAD // usable at once, without asking neighbours
	}
	b.Message(unix.RTM_NEWADDR, netlink.Create|netlink.Replace)
	b.Raw(family, byte(addr.BitLen()), flags, unix.RT_SCOPE_UNIVERSE) // struct ifaddrmsg
	b.Raw(native(Loopback)...)
	b.Attr(unix.IFA_LOCAL, addr.AsSlice()...)
	b.Attr(unix.IFA_ADDRESS, addr.AsSlice()...)
}

// local4 makes every IPv4 address one of the world's own, and [Addr4] the source of packets to
// them.
//
// With an ordinary default route over lo packets would reach the rules as well. But the kernel
// answers a rejected datagram in the name of its destination, and over lo it does that for IPv4
// only if that is a local address: otherwise the sender would wait for ever. As a consequence
// bind(2) to any IPv4 address succeeds.
//
// Source: Linux net/ipv4/icmp.c, icmp_send; net/ipv4/route.c, ip_route_output_key_hash_rcu.
func local4(b *netlink.Batch, flags uint16) {
	b.Message(unix.RTM_NEWROUTE, netlink.Create|netlink.Replace|flags)
	b.Raw(unix.AF_INET, 0, 0, 0, // struct rtmsg: family, lengths of destination and source, tos
		unix.RT_TABLE_LOCAL, unix.RTPROT_BOOT, unix.RT_SCOPE_HOST, unix.RTN_LOCAL,
		0, 0, 0, 0)
	b.Native32(unix.RTA_OIF, Loopback)
	b.Attr(unix.RTA_PREFSRC, Addr4.AsSlice()...)
}

// local6 makes packets to [Addr6] arrive from the first moment. The kernel adds the same route in a
// worker, perhaps after the first connect(2): then the reset would be lost and the refusal come a
// second late.
//
// Source: Linux net/ipv6/addrconf.c, addrconf_dad_start.
func local6(b *netlink.Batch) {
	b.Message(unix.RTM_NEWROUTE, netlink.Create|netlink.Replace)
	b.Raw(unix.AF_INET6, byte(Addr6.BitLen()), 0, 0,
		unix.RT_TABLE_LOCAL, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_LOCAL,
		0, 0, 0, 0)
	b.Attr(unix.RTA_DST, Addr6.AsSlice()...)
	b.Native32(unix.RTA_OIF, Loopback)
}

// default6 adds a default route for IPv6 over lo.
func default6(b *netlink.Batch, flags uint16) {
	b.Message(unix.RTM_NEWROUTE, netlink.Create|netlink.Replace|flags)
	b.Raw(unix.AF_INET6, 0, 0, 0,
		unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST,
		0, 0, 0, 0)
	b.Native32(unix.RTA_OIF, Loopback)
}
