package world

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"substrate/internal/world/egress"
	"substrate/internal/world/netlink"
	"substrate/internal/world/netlog"
	"substrate/internal/world/netns"
	"substrate/internal/world/nft"
	"substrate/internal/world/worldinit"
)

// logGroup is the NFLOG group of the rules. Groups belong to a network namespace, so any number will do.
const logGroup = 1

// dnsPort is where the stub resolver listens.
const dnsPort = 53

// network prepares the netlink messages of the world.
func (w *World) network() (worldinit.Network, error) {
	v6 := netns.V6Enabled()
	table, err := nft.Table(w.Name, logGroup, netns.Addrs(v6)...)
	if err != nil {
		return worldinit.Network{}, fmt.Errorf("prepare the rules: %w", err)
	}
	return worldinit.Network{
		Links: netns.Batch(v6), LinksOnly: netns.LoopbackOnly(),
		Rules: table.Batch(), Log: netlog.Bind(logGroup),
		DNS: egress.Sockaddr(netip.AddrPortFrom(netns.Addr4, dnsPort)),
	}, nil
}

// readyNet is a network namespace that is set up. A user's world sets its own up in its first process, because only
// there are the capabilities for it; root's is made by a thread of the supervisor while the rest of the world is
// prepared, since to make it takes as long as everything else.
type readyNet struct {
	ns, log, dns int   // descriptors, -1 for what could not be had
	err          error // why there is no namespace
	rulesErr     error // why there are no rules
}

// startNet begins to make a network namespace. What shall be in it is told later, by one value sent to the first channel,
// or by closing that if the world came to nothing. The result comes once.
func startNet() (chan<- worldinit.Network, <-chan *readyNet) {
	in, out := make(chan worldinit.Network, 1), make(chan *readyNet, 1)
	go func() {
		// The thread is not unlocked: it ends with the goroutine, and with it its hold on the namespace.
		runtime.LockOSThread()
		r := &readyNet{ns: -1, log: -1, dns: -1}
		r.make()
		if n, ok := <-in; ok && r.err == nil {
			r.fill(n)
		}
		out <- r
	}()
	return in, out
}

// make moves the thread into a network namespace of its own.
func (r *readyNet) make() {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		r.err = os.NewSyscallError("unshare", err)
		return
	}
	if r.ns, r.err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); r.err != nil {
		r.ns = -1
	}
}

// fill sets the namespace up. As in a user's world, rules come before routes.
func (r *readyNet) fill(n worldinit.Network) {
	links := n.Links
	if r.log, r.rulesErr = openLog(n); r.rulesErr != nil {
		links = n.LinksOnly
	}
	if r.err = sendLinks(links); r.err != nil {
		return
	}
	r.dns = openDNS()
}

// openLog installs the rules and returns a socket on which their reports arrive.
func openLog(n worldinit.Network) (int, error) {
	fd, err := netlink.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, netlog.ReceiveBuffer) // a smaller one works as well
	if err = netlink.Send(fd, n.Rules); err == nil {
		err = netlink.Send(fd, n.Log)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func sendLinks(batch []byte) error {
	fd, err := netlink.Open(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	return errors.Join(netlink.Send(fd, batch), unix.Close(fd))
}

// openDNS makes the socket of the stub resolver. Without one names are looked up nowhere.
func openDNS() int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: dnsPort, Addr: netns.Addr4.As4()}); err != nil {
		_ = unix.Close(fd)
		return -1
	}
	return fd
}

// close lets go of what was not handed on.
func (r *readyNet) close() {
	for _, fd := range []int{r.ns, r.log, r.dns} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	r.ns, r.log, r.dns = -1, -1, -1
}
