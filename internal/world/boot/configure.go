package boot

import (
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"substrate/internal/world/net/netlog"
)

// Configure gives the first process all but the file view. It makes the second, which waits for [Process.Execute] in the cgroup, fills the
// network namespace, reports its descriptors with a MsgNet, and is pid 1 from then on.
func (pr *Process) Configure(b *Base) error {
	p := pr.p
	fds := slices.Clone(b.Keep)
	for range b.Keep {
		p.newReg()
	}
	group := Num(0)
	if b.Group >= 0 {
		group = FromReg(p.newReg())
		fds = append(fds, b.Group)
	}
	if pr.user {
		b.userNS(p)
	}
	p.step("mntns")
	p.call(unix.SYS_MOUNT, p.text("none"), p.text("/"), Num(0), Num(unix.MS_REC|unix.MS_PRIVATE), Num(0))
	p.doneIf(b.Verbose)
	// Nobody inside may look at the first process.
	p.call(unix.SYS_PRCTL, Num(unix.PR_SET_DUMPABLE), Num(0))
	pr.ready = p.callReg(unix.SYS_EVENTFD2, Num(0), Num(unix.EFD_CLOEXEC))
	p.step("cgroup")
	fork := Op{Kind: OpFork, Args: [6]uintptr{group.val}}
	if group.ptr {
		fork.Args[0], fork.RegMask = uintptr(group.reg), 1
	}
	at := p.add(fork)
	pr.first(b, group)
	p.ops[at].OnErr = int32(len(p.ops))
	pr.second()
	return p.send(pr.born, fds...)
}

// first is what remains to be done for the first process.
func (pr *Process) first(b *Base, group Arg) {
	p := pr.p
	fds := pr.newFDs()
	p.unless(RegNoNet, func() { b.network(p, fds) })
	if !pr.user {
		p.set(fds[FDNet], RegNet)
		p.try(unix.SYS_CLOSE, FromReg(RegNet))
	}
	p.step("start")
	pr.sendFDs(MsgNet, fds[:netFDs])
	for _, r := range fds {
		p.try(unix.SYS_CLOSE, FromReg(r))
	}
	// From here on the second may begin.
	p.call(unix.SYS_WRITE, FromReg(pr.ready), p.data(binary.NativeEndian.AppendUint64(nil, 1)), Num(8))
	p.try(unix.SYS_CLOSE, FromReg(pr.ready))
	if group.ptr {
		p.try(unix.SYS_CLOSE, group)
	}
	for i := range 3 {
		p.try(unix.SYS_CLOSE, Num(i))
	}
	p.step("capabilities")
	var keep uint64
	if !pr.user {
		keep = 1 << unix.CAP_KILL // at the end, of processes of any user
	}
	p.setCapabilities(keep)
	p.call(unix.SYS_PRCTL, Num(unix.PR_SET_NO_NEW_PRIVS), Num(1))
	dieWithSupervisor(p)
	p.add(Op{Kind: OpInit})
}

// second is what the second process does while it waits: it gives up what no later step needs.
func (pr *Process) second() {
	p := pr.p
	p.step("exec")
	p.call(unix.SYS_SETSID)
	limitPrivileges(p, pr.user)
	p.step("start")
	p.add(Op{Kind: OpPart, Args: [6]uintptr{uintptr(p.regs)}})
}

// doneIf is done if everything is to be reported.
func (p *program) doneIf(verbose bool) {
	if verbose {
		p.done()
	}
}

// dieWithSupervisor ties the life of the first process to the supervisor's thread, and then looks whether
// the supervisor was already gone: its end of the socket reads as empty while it lives and
// as closed when not.
func dieWithSupervisor(p *program) {
	p.call(unix.SYS_PRCTL, Num(unix.PR_SET_PDEATHSIG), Num(int(unix.SIGKILL)))
	p.add(Op{Kind: OpAlive})
}

// userNS maps the caller to itself.
//
// Source: user_namespaces(7), "Defining user and group ID mappings: writing to uid_map and gid_map".
func (b *Base) userNS(p *program) {
	p.step("userns")
	p.writeFile("/proc/self/setgroups", "deny")
	p.writeFile("/proc/self/uid_map", fmt.Sprintf("%d %d 1\n", b.UID, b.UID))
	p.writeFile("/proc/self/gid_map", fmt.Sprintf("%d %d 1\n", b.GID, b.GID))
	p.doneIf(b.Verbose)
}

// atFDCWD is AT_FDCWD as a system call argument.
const atFDCWD = ^uintptr(99)

func (p *program) writeFile(path, text string) {
	r := p.callReg(unix.SYS_OPENAT, Num(atFDCWD), p.text(path), Num(unix.O_WRONLY|unix.O_CLOEXEC), Num(0))
	p.call(unix.SYS_WRITE, FromReg(r), p.text(text), Num(len(text)))
	p.call(unix.SYS_CLOSE, FromReg(r))
}

// network fills the network namespace. The rules come before the routes, so that without rules there
// are no routes and every connect fails at once with ENETUNREACH.
func (b *Base) network(p *program, fds [max(netFDs, viewFDs)]Reg) {
	p.step("nft")
	n := &b.Network
	p.alternative(func() {
		nf := p.netlink(unix.NETLINK_NETFILTER)
		size := p.data(binary.NativeEndian.AppendUint32(nil, netlog.ReceiveBuffer))
		p.try(unix.SYS_SETSOCKOPT, FromReg(nf), Num(unix.SOL_SOCKET), Num(unix.SO_RCVBUFFORCE), size, Num(4))
		p.request(nf, n.Rules)
		p.request(nf, n.Log)
		p.set(fds[FDLog], nf)
		p.try(unix.SYS_CLOSE, FromReg(nf))
		p.doneIf(b.Verbose)
		p.step("netns")
		p.links(n.Links)
		p.doneIf(b.Verbose)
	}, func() {
		p.step("nft")
		p.degrade()
		p.step("netns")
		p.alternative(func() { p.links(n.LinksOnly) }, p.degrade)
	})
	if n.DNS != nil {
		dns := p.newReg()
		o := newCall(unix.SYS_SOCKET, []Arg{Num(unix.AF_INET), Num(unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK), Num(0)})
		o.Dst, o.OnErr = uint8(dns)+1, Next
		p.add(o)
		p.try(unix.SYS_BIND, FromReg(dns), p.data(n.DNS), Num(len(n.DNS)))
		p.set(fds[FDDNS], dns)
		p.try(unix.SYS_CLOSE, FromReg(dns))
	}
}

// links sends a batch to the part of the kernel that knows interfaces, addresses and routes.
func (p *program) links(batch []byte) {
	route := p.netlink(unix.NETLINK_ROUTE)
	p.request(route, batch)
	p.try(unix.SYS_CLOSE, FromReg(route))
}

func (p *program) netlink(family int) Reg {
	return p.callReg(unix.SYS_SOCKET, Num(unix.AF_NETLINK), Num(unix.SOCK_RAW|unix.SOCK_CLOEXEC), Num(family))
}

func (p *program) request(sock Reg, batch []byte) {
	p.call(unix.SYS_SENDTO, FromReg(sock), p.data(batch), Num(len(batch)), Num(0), Num(0), Num(0))
	p.ack(sock)
}
