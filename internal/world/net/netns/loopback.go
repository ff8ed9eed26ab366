package netns

import (
	"golang.org/x/sys/unix"

	"substrate/internal/world/net/netlink"
)

// LoopbackOnly returns the request that brings lo up, and nothing else: the network of a world whose
// rules could not be installed, in which every other connect(2) fails with ENETUNREACH.
func LoopbackOnly() []byte {
	var b netlink.Batch
	b.Message(unix.RTM_NEWLINK, netlink.Ack)
	b.Raw(unix.AF_UNSPEC, 0, 0, 0)
	b.Raw(native(Loopback)...)
	b.Raw(native(unix.IFF_UP)...)
	b.Raw(native(unix.IFF_UP)...)
	return b.Bytes()
}
