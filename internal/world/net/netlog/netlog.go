// Package netlog reads which packets the rules of a world rejected.
//
// The kernel sends a copy of each logged packet to an NFLOG group inside the world's network
// namespace. [Bind] connects a socket with that group, and [Decode] turns what arrives into [Event]
// values. The rules themselves are in package nft.
//
// Messages are decoded by hand: only two attributes of NFLOG are needed, and the module that reads
// them cannot be downloaded everywhere.
package netlog

import "net/netip"

// Event is one attempt to reach somebody that was rejected.
type Event struct {
	Proto string // "tcp", "udp", "icmp", "icmpv6", or the number: "132"
	Dst   netip.Addr
	Port  uint16 // destination port; 0 for protocols without one
	UID   int    // owner of the socket, -1 if unknown
}

// String returns the form of scopes_used without its verb: "192.0.2.1:443/tcp",
// "[2001:db8::1]:443/tcp", "192.0.2.1:0/icmp".
func (e Event) String() string {
	return netip.AddrPortFrom(e.Dst, e.Port).String() + "/" + e.Proto
}
