package world

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/world/boot"
	"substrate/internal/world/net/dns"
	"substrate/internal/world/net/netlog"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/net/nft"
	"substrate/internal/world/state"
)

// logGroup is the NFLOG group of the rules. Groups belong to a network namespace, so any number
// will do.
const logGroup = 1

// dnsPort is where the stub resolver listens.
const dnsPort = 53

// networkOf prepares the netlink messages of the world name.
func networkOf(name string) (boot.Network, error) {
	v6 := netns.V6Enabled()
	table, err := nft.Table(name, logGroup, netns.Addrs(v6)...)
	if err != nil {
		return boot.Network{}, fmt.Errorf("prepare the rules: %w", err)
	}
	return boot.Network{
		Links: netns.Batch(v6), LinksOnly: netns.LoopbackOnly(),
		Rules: table.Batch(), Log: netlog.Bind(logGroup),
		DNS: dns.Sockaddr(netip.AddrPortFrom(netns.Addr4, dnsPort)),
	}, nil
}

// network is our side of a world's network: it collects the attempts to leave it.
type network struct {
	log    int       // NFLOG socket, -1 without
	dns    int       // socket of the stub resolver, -1 without
	ns     int       // the network namespace of a root's world, -1 without
	nameAt time.Time // when the network namespace gets its name; zero for never
	seen   netlog.Distinct
	stub   dns.Stub
	lost   bool // the kernel dropped reports of blocked packets
	buf    []byte
}

// take takes the descriptors that came with the network. One that could not be made is a copy of
// the report socket; it is recognised by what it is not.
func (n *network) take(fds []int, root bool) {
	for i, fd := range fds {
		switch {
		case i == boot.FDLog && n.log < 0 && isSocket(fd, unix.AF_NETLINK):
			n.log = fd
		case i == boot.FDDNS && n.dns < 0 && isSocket(fd, unix.AF_INET):
			n.dns = fd
		case i == boot.FDNet && n.ns < 0 && root && isNamespace(fd):
			n.ns = fd
			n.nameAt = time.Now().Add(nameAfter)
		default:
			_ = unix.Close(fd)
		}
	}
}

// isNamespace reports whether fd is a namespace.
func isNamespace(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == unix.NSFS_MAGIC
}

func isSocket(fd, domain int) bool {
	d, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && d == domain
}

// nameAfter is the time after which a world's network namespace gets its name. To make and to
// remove the name costs as much as a tenth of a short world, which ends before anybody could use
// it.
const nameAfter = 10 * time.Millisecond

// bindName gives the network namespace its name when it is time. It returns the milliseconds until
// then; -1 if there is nothing left to name.
func (n *network) bindName(name string) (left int, err error) {
	if n.nameAt.IsZero() {
		return -1, nil
	}
	if left := time.Until(n.nameAt); left > 0 {
		return int(left.Milliseconds()) + 1, nil
	}
	n.nameAt = time.Time{}
	err = netns.Bind(n.ns, name)
	if err == nil {
		crashpoint(state.KindNetns, name)
	}
	return -1, err
}

// rest reads what has come since the init process reported that all others have ended. Mostly that
// is nothing, and then the buffer, which is expensive in a new process, is not needed.
func (n *network) rest() (more bool) {
	fds := []unix.PollFd{{Fd: int32(n.log), Events: unix.POLLIN}, {Fd: int32(n.dns), Events: unix.POLLIN}}
	if got, err := unix.Poll(fds, 0); got != 0 || err != nil {
		n.read(true, true)
	}
	return n.seen.More || n.stub.More()
}

// read reads all reports of blocked packets and answers all queries that are waiting on the sockets
// that are ready.
func (n *network) read(logReady, dnsReady bool) {
	if n.buf == nil && (logReady || dnsReady) {
		n.buf = make([]byte, 64<<10)
	}
	for logReady && n.log >= 0 {
		got, _, err := unix.Recvfrom(n.log, n.buf, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			n.lost = true
		case errors.Is(err, unix.EINTR):
		case err != nil:
			logReady = false
		default:
			events, _ := netlog.Decode(n.buf[:got]) // what cannot be decoded was no packet of an attempt
			for _, e := range events {
				n.seen.Add(e)
			}
		}
	}
	for dnsReady && n.dns >= 0 {
		got, from, err := unix.Recvfrom(n.dns, n.buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		if reply := n.stub.Answer(n.buf[:got]); reply != nil {
			_ = unix.Sendto(n.dns, reply, unix.MSG_DONTWAIT, from) // a client that is gone needs no answer
		}
	}
}
