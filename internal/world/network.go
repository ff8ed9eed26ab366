package world

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"

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
//
// The thread hands the namespace to the first process itself, and they and the supervisor wait for each other in the kernel: a
// goroutine that is locked to its thread is woken over a detour of two other threads.
type netMaker struct {
	plan   atomic.Pointer[worldinit.Network] // what shall be in it; nil once told is open if the world came to nothing
	told   gate
	filled gate // opened when all that follows is final

	give, take int   // socket for the first process: the namespace, and a byte when it is filled
	ns         int   // the namespace, -1 without
	err        error // why there is none

	log, dns int   // sockets in it, -1 for what could not be had
	rulesErr error // why there are no rules
	linksErr error // why there are no routes
}

// startNet begins to make a network namespace.
func startNet() (*netMaker, error) {
	n := &netMaker{ns: -1, log: -1, dns: -1}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	n.give, n.take = pair[0], pair[1]
	if err := errors.Join(n.told.make(), n.filled.make()); err != nil {
		n.closeAll()
		return nil, err
	}
	go n.run()
	return n, nil
}

func (n *netMaker) run() {
	// The thread is not unlocked: it ends with the goroutine, and with it its hold on the namespace.
	runtime.LockOSThread()
	defer n.filled.open()
	n.err = os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET))
	// Without one of its own the first process gets the host's.
	ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		n.ns = ns
		err = unix.Sendmsg(n.give, []byte{1}, unix.UnixRights(ns), nil, unix.MSG_NOSIGNAL)
	}
	if n.err = errors.Join(n.err, err); n.err == nil {
		n.told.wait()
		if plan := n.plan.Load(); plan != nil {
			n.fill(*plan)
		}
	}
	_, _ = unix.Write(n.give, []byte{1}) // a first process that is gone needs nothing
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
func (n *netMaker) tell(plan *worldinit.Network) {
	n.plan.Store(plan)
	n.told.open()
}

// close lets go of what was not handed on.
func (n *netMaker) close() {
	n.told.open()
	n.filled.wait()
	n.closeAll()
}

func (n *netMaker) closeAll() {
	for _, fd := range []*int{&n.give, &n.take, &n.ns, &n.log, &n.dns, &n.told.fd, &n.filled.fd} {
		closeFD(fd)
	}
}

// gate is opened by one thread and then lets all others pass.
type gate struct {
	fd     int // eventfd
	opened atomic.Bool
}

func (g *gate) make() (err error) {
	if g.fd, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		g.fd = -1
	}
	return os.NewSyscallError("eventfd", err)
}

func (g *gate) open() {
	if g.opened.Swap(true) {
		return
	}
	_, _ = unix.Write(g.fd, binary.NativeEndian.AppendUint64(nil, 1)) // cannot fail with a number so small
}

func (g *gate) wait() {
	for !g.opened.Load() {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLIN}}, -1) // interrupted: look again
	}
}
