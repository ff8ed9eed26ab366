package world

import (
	"encoding/binary"
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

// netMaker makes the network namespace of a root's world, in a thread of its own while the rest of the world is prepared,
// since that takes as long as everything else. A user's world sets its own up in its first process, because only there are
// the capabilities for it.
type netMaker struct {
	plan   chan<- worldinit.Network // takes what shall be in it, and is closed without that if the world came to nothing; then nil
	made   chan struct{}            // closed when there is a namespace, or err
	filled chan struct{}            // closed when the rest is there

	ns    int   // -1 without
	ready int   // eventfd on which the first process waits before it starts the command, -1 without
	err   error // why there is no namespace

	log, dns int   // sockets in it, -1 for what could not be had
	rulesErr error // why there are no rules
	linksErr error // why there are no routes
}

// startNet begins to make a network namespace.
func startNet() *netMaker {
	plan := make(chan worldinit.Network, 1)
	n := &netMaker{
		plan: plan, made: make(chan struct{}), filled: make(chan struct{}),
		ns: -1, ready: -1, log: -1, dns: -1,
	}
	go n.run(plan)
	return n
}

func (n *netMaker) run(plan <-chan worldinit.Network) {
	// The thread is not unlocked: it ends with the goroutine, and with it its hold on the namespace.
	runtime.LockOSThread()
	n.make()
	close(n.made)
	if p, ok := <-plan; ok && n.err == nil {
		n.fill(p)
		_, n.err = unix.Write(n.ready, binary.NativeEndian.AppendUint64(nil, 1))
	}
	close(n.filled)
}

// make moves the thread into a network namespace of its own.
func (n *netMaker) make() {
	if n.err = os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET)); n.err != nil {
		return
	}
	if n.ns, n.err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); n.err != nil {
		n.ns = -1
		return
	}
	if n.ready, n.err = unix.Eventfd(0, unix.EFD_CLOEXEC); n.err != nil {
		n.ready = -1
	}
}

// fill sets the namespace up. As in a user's world, rules come before routes.
func (n *netMaker) fill(plan worldinit.Network) {
	links := plan.Links
	if n.log, n.rulesErr = openLog(plan); n.rulesErr != nil {
		links = plan.LinksOnly
	}
	if n.linksErr = sendLinks(links); n.linksErr == nil {
		n.dns = openDNS()
	}
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

// tell says what shall be in the namespace.
func (n *netMaker) tell(plan worldinit.Network) {
	n.plan <- plan
	n.plan = nil
}

// close lets go of what was not handed on.
func (n *netMaker) close() {
	if n.plan != nil {
		close(n.plan)
	}
	<-n.filled
	for _, fd := range []int{n.ns, n.ready, n.log, n.dns} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
