package boot

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"substrate/internal/world/net/netlog"
	"substrate/internal/world/ops"
)

// Base is what a world needs before its file view is known.
type Base struct {
	UID, GID int // of the caller: mapped to themselves in a user namespace

	Group   int   // descriptor of the cgroup's directory that the command process starts in; -1 for none
	Keep    []int // descriptors that the init process holds to its end: the locks of the world
	Network Network
	Verbose bool // report each step at the moment it is done
}

// Network is what is done in the network namespace, as prepared netlink messages.
type Network struct {
	Links     []byte // lo up with addresses and default routes that lead nowhere
	LinksOnly []byte // lo up alone, for a kernel without rules
	Rules     []byte // the nft table, one transaction
	Log       []byte // binds the NFLOG socket
	DNS       []byte // raw sockaddr of the stub resolver, nil for none
}

// Configure gives the init process everything but the file view. The init process starts the
// command process in the cgroup, where that waits for [Process.Execute]. Then it fills the network
// namespace, reports its descriptors with a MsgNet, and is pid 1 from then on.
func (pr *Process) Configure(b *Base) error {
	p := pr.p
	fds := slices.Clone(b.Keep)
	for range b.Keep {
		p.NewReg()
	}
	group := ops.Num(0)
	if b.Group >= 0 {
		group = ops.FromReg(p.NewReg())
		fds = append(fds, b.Group)
	}
	if pr.user {
		b.userNS(p)
	}
	p.Step("mntns")
	p.Call(unix.SYS_MOUNT, p.Text("none"), p.Text("/"), ops.Num(0), ops.Num(unix.MS_REC|unix.MS_PRIVATE), ops.Num(0))
	doneIf(p, b.Verbose)
	// Nobody inside may look at the init process.
	p.Call(unix.SYS_PRCTL, ops.Num(unix.PR_SET_DUMPABLE), ops.Num(0))
	pr.ready = p.CallReg(unix.SYS_EVENTFD2, ops.Num(0), ops.Num(unix.EFD_CLOEXEC))
	p.Step("cgroup")
	fork := p.Len()
	p.Add(ops.Fork, group)
	pr.becomeInit(b, group)
	p.At(fork).OnErr = p.Len()
	pr.awaitView(p)
	return pr.send(fds...)
}

// becomeInit is what remains to be done for the init process.
func (pr *Process) becomeInit(b *Base, group ops.Arg) {
	p := pr.p
	fds := newFDs(p)
	p.Unless(regNoNet, func() { b.network(p, fds) })
	if !pr.user {
		set(p, fds[FDNet], regNet)
		p.Try(unix.SYS_CLOSE, ops.FromReg(regNet))
	}
	p.Step("start")
	sendFDs(p, MsgNet, fds[:netFDs])
	for _, r := range fds {
		p.Try(unix.SYS_CLOSE, ops.FromReg(r))
	}
	// From here on the command may start.
	p.Call(unix.SYS_WRITE, ops.FromReg(pr.ready), p.Words(ops.Num(1)), ops.Num(8))
	p.Try(unix.SYS_CLOSE, ops.FromReg(pr.ready))
	if b.Group >= 0 {
		p.Try(unix.SYS_CLOSE, group)
	}
	for i := range 3 {
		p.Try(unix.SYS_CLOSE, ops.Num(i))
	}
	p.Step("capabilities")
	var keep uint64
	if !pr.user {
		keep = 1 << unix.CAP_KILL // at the end, of processes of any user
	}
	setCapabilities(p, keep)
	p.Call(unix.SYS_PRCTL, ops.Num(unix.PR_SET_NO_NEW_PRIVS), ops.Num(1))
	p.Add(ops.Init)
}

// awaitView makes the command process give up what no later step needs, and wait for the next part.
func (pr *Process) awaitView(p *ops.Program) {
	p.Step("exec")
	p.Call(unix.SYS_SETSID)
	limitPrivileges(p, pr.user)
	p.Step("start")
	p.Add(ops.ReadPart, ops.Num(p.FreeReg()))
}

// doneIf reports the end of the step if everything is to be reported.
func doneIf(p *ops.Program, verbose bool) {
	if verbose {
		p.Add(ops.ReportDone)
	}
}

// userNS maps the caller to itself.
//
// Source: user_namespaces(7), "Defining user and group ID mappings: writing to uid_map and
// gid_map".
func (b *Base) userNS(p *ops.Program) {
	p.Step("userns")
	// A program that starts with ambient capabilities is not dumpable, and then its files in /proc
	// belong to root.
	p.Call(unix.SYS_PRCTL, ops.Num(unix.PR_SET_DUMPABLE), ops.Num(1))
	writeFile(p, "/proc/self/setgroups", "deny")
	writeFile(p, "/proc/self/uid_map", fmt.Sprintf("%d %d 1\n", b.UID, b.UID))
	writeFile(p, "/proc/self/gid_map", fmt.Sprintf("%d %d 1\n", b.GID, b.GID))
	doneIf(p, b.Verbose)
}

func writeFile(p *ops.Program, path, text string) {
	r := p.CallReg(unix.SYS_OPENAT, ops.CWD, p.Text(path), ops.Num(unix.O_WRONLY|unix.O_CLOEXEC), ops.Num(0))
	p.Call(unix.SYS_WRITE, ops.FromReg(r), p.Text(text), ops.Num(len(text)))
	p.Call(unix.SYS_CLOSE, ops.FromReg(r))
}

// network fills the network namespace. The rules come before the routes: without rules there are no
// routes, and every connect fails at once with ENETUNREACH.
func (b *Base) network(p *ops.Program, fds [maxFDs]ops.Reg) {
	p.Step("nft")
	n := &b.Network
	p.Alternative(func() {
		nf := netlink(p, unix.NETLINK_NETFILTER)
		size := p.Data(binary.NativeEndian.AppendUint32(nil, netlog.ReceiveBuffer))
		p.Try(unix.SYS_SETSOCKOPT, ops.FromReg(nf), ops.Num(unix.SOL_SOCKET), ops.Num(unix.SO_RCVBUFFORCE), size, ops.Num(4))
		request(p, nf, n.Rules)
		request(p, nf, n.Log)
		set(p, fds[FDLog], nf)
		p.Try(unix.SYS_CLOSE, ops.FromReg(nf))
		doneIf(p, b.Verbose)
		p.Step("netns")
		links(p, n.Links)
		doneIf(p, b.Verbose)
	}, func() {
		p.Step("nft")
		p.Add(ops.ReportDegrade)
		p.Step("netns")
		p.Alternative(func() { links(p, n.LinksOnly) }, func() { p.Add(ops.ReportDegrade) })
	})
	if n.DNS != nil {
		dns := p.NewReg()
		p.Try(unix.SYS_SOCKET, ops.Num(unix.AF_INET), ops.Num(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK), ops.Num(0)).To(dns)
		p.Try(unix.SYS_BIND, ops.FromReg(dns), p.Data(n.DNS), ops.Num(len(n.DNS)))
		set(p, fds[FDDNS], dns)
		p.Try(unix.SYS_CLOSE, ops.FromReg(dns))
	}
}

// links sends a batch to the part of the kernel that knows interfaces, addresses and routes.
func links(p *ops.Program, batch []byte) {
	route := netlink(p, unix.NETLINK_ROUTE)
	request(p, route, batch)
	p.Try(unix.SYS_CLOSE, ops.FromReg(route))
}

func netlink(p *ops.Program, family int) ops.Reg {
	return p.CallReg(unix.SYS_SOCKET, ops.Num(unix.AF_NETLINK), ops.Num(unix.SOCK_RAW|unix.SOCK_CLOEXEC), ops.Num(family))
}

// request sends a batch and checks the answers.
//
// Source: netlink(7), "NLMSG_ERROR"; the kernel answers a request before sendto(2) returns.
func request(p *ops.Program, sock ops.Reg, batch []byte) {
	p.Call(unix.SYS_SENDTO, ops.FromReg(sock), p.Data(batch), ops.Num(len(batch)), ops.Num(0), ops.Num(0), ops.Num(0))
	p.Add(ops.Ack, ops.FromReg(sock))
}
