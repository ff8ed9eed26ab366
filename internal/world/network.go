package world

import (
	"fmt"
	"net/netip"

	"substrate/internal/world/boot"
	"substrate/internal/world/net/dns"
	"substrate/internal/world/net/netlog"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/net/nft"
)

// logGroup is the NFLOG group of the rules. Groups belong to a network namespace, so any number will do.
const logGroup = 1

// dnsPort is where the stub resolver listens.
const dnsPort = 53

// network prepares the netlink messages of the world.
func (w *World) network() (boot.Network, error) {
	v6 := netns.V6Enabled()
	table, err := nft.Table(w.Name, logGroup, netns.Addrs(v6)...)
	if err != nil {
		return boot.Network{}, fmt.Errorf("prepare the rules: %w", err)
	}
	return boot.Network{
		Links: netns.Batch(v6), LinksOnly: netns.LoopbackOnly(),
		Rules: table.Batch(), Log: netlog.Bind(logGroup),
		DNS: dns.Sockaddr(netip.AddrPortFrom(netns.Addr4, dnsPort)),
	}, nil
}
