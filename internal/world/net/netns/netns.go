// Package netns makes the network of a world that has no way out.
//
// A network namespace begins with the interface lo alone, and down. [Batch] is
// the list of requests that brings it up, gives the world an address of its own, and
// lays default routes over lo: with them every packet to anywhere reaches the rules of
// package nft, which see its true destination; without them connect(2) would fail before
// anybody could see whom it meant. Nothing can leave, whatever the rules say: there is no other
// interface. A world that may reach somebody needs other routes than these.
//
// A namespace lives as long as a process or a file holds it. [Bind] gives root a file under
// /run/netns, so that ip-netns(8) can list and enter it. Rules are not made
// here, nor is the namespace: that happens when the world's first process is cloned.
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

// Loopback is the index of lo: a new network namespace begins with it.
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

// Batch returns the rtnetlink requests that ready a new network namespace: lo up, the world's
// addresses, routes to everywhere over lo; without v6 those of IPv4 alone. Send it in one sendto(2) on a NETLINK_ROUTE socket
// made inside the namespace.
//
// Only the last message asks for an acknowledgement, see [netlink.Ack]. The kernel still carries out
// messages that follow one that failed. The requests replace
// what is there, so Batch(false) may follow a Batch(true) that failed for want of IPv6.
//
// Source: rtnetlink(7), RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE.
func Batch(v6 bool) []byte {
	var b netlink.Batch
	b.Grow(352)
	b.Message(unix.RTM_NEWLINK, 0)
	b.Raw(unix.AF_UNSPEC, 0, 0, 0) // struct ifinfomsg: family, type
	b.Raw(native(Loopback)...)
	b.Raw(native(unix.IFF_UP)...) // flags
	b.Raw(native(unix.IFF_UP)...) // which of them to change
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

// address adds addr, alone in its network, to lo.
func address(b *netlink.Batch, addr netip.Addr) {
	family, flags := byte(unix.AF_INET), byte(0)
	if addr.Is6() {
		family, flags = unix.AF_INET6, unix.IFA_F_NODAD // usable at once, nothing to ask neighbours
	}
	b.Message(unix.RTM_NEWADDR, netlink.Create|netlink.Replace)
	b.Raw(family, byte(addr.BitLen()), flags, unix.RT_SCOPE_UNIVERSE) // struct ifaddrmsg
	b.Raw(native(Loopback)...)
	b.Attr(unix.IFA_LOCAL, addr.AsSlice()...)
	b.Attr(unix.IFA_ADDRESS, addr.AsSlice()...)
}

// local4 makes every IPv4 address one of the world's own, with [Addr4] as the source of what goes there.
//
// An ordinary default route over lo would bring packets to the rules as well. But the kernel answers a refused datagram in
// the name of its destination, and does that for IPv4 over lo only if it holds that address for
// local: without this the sender would wait for ever. A consequence is that bind(2) to any
// IPv4 address succeeds.
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

// local6 makes packets to [Addr6] arrive from the first moment. The kernel lays that route itself, but by a
// worker that may come after the first connect(2): the reset would be lost and the refusal
// come a second late.
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
