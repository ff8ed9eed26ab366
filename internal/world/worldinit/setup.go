package worldinit

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"substrate/internal/world/mount"
	"substrate/internal/world/netlog"
)

// Setup is everything that the first process of a world shall do.
type Setup struct {
	Namespaces
	UID, GID int // of the caller: mapped to themselves in a user namespace

	Staging string // existing directory of the host on which the new root is built
	Mounts  []mount.Mount
	Memory  *mount.Memory // uppers in memory; nil if they are on disk
	Network Network

	Keep    []int // close-on-exec descriptors that the first process holds to its end: the locks of the world
	Command Command
	Verbose bool // report each step at the moment it is done
}

// Network is what is done in the network namespace, as prepared netlink messages.
type Network struct {
	Joins  bool // the namespace is made elsewhere; what follows besides Socket is not used then
	Socket int  // brings it as a descriptor, and another message when it is set up: the command is started then

	Links     []byte // lo up with addresses and default routes that lead nowhere
	LinksOnly []byte // lo up alone, for the case that the rules cannot be had
	Rules     []byte // the nft table, one transaction
	Log       []byte // binds the NFLOG socket
	DNS       []byte // raw sockaddr of the stub resolver, nil for none
}

// Command is what the world runs.
type Command struct {
	Paths   []string // candidates for execve, tried in turn
	Argv    []string
	Env     []string
	Dir     string
	Umask   int
	Stdio   [3]int  // descriptors in the supervisor
	TTY     bool    // a new PTY of the world's devpts becomes stdio and controlling terminal
	Stdin   *Reopen // how standard input is opened once more inside the world; nil to leave it as it is
	Ignored uint64  // signals that stay ignored, bit n-1 for signal n
	Blocked *uint64 // signals that are blocked, in the same way; nil for those of the supervisor's thread
	NoFile  *unix.Rlimit
}

// Reopen is a file that is open in the supervisor and is opened anew at its path inside the world.
type Reopen struct {
	Path   string // "" if it has no path by which the world could show it
	Offset int64
}

// The places in the list of descriptors that comes with a MsgFDs. A descriptor that could not be had
// is a copy of the report socket.
const (
	FDLog = iota
	FDDNS
	FDUpper // the tmpfs with the uppers, or a copy of the report socket
	FDMaster
	numFDs
)

// Start builds the program and forks the first process. The calling goroutine must be
// locked to its thread and keep it until [Process.Reap] has returned.
func (s *Setup) Start() (*Process, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make the report socket: %w", err)
	}
	p := New()
	if err = s.program(p, pair[1]); err != nil {
		p.release()
		_ = unix.Close(pair[0])
		_ = unix.Close(pair[1])
		return nil, err
	}
	pr, err := p.start(s.Namespaces, pair[0], pair[1])
	if err != nil {
		_ = unix.Close(pair[0])
	}
	return pr, err
}

// program writes the whole list down. peer is the child's end of the report socket.
func (s *Setup) program(p *Program, peer int) error {
	p.state.status = uintptr(peer)
	all := p.Bytes([]byte{255, 255, 255, 255, 255, 255, 255, 255})
	p.Call(unix.SYS_RT_SIGPROCMASK, Num(unix.SIG_BLOCK), all, Num(0), Num(8))
	p.Call(unix.SYS_UMASK, Num(0))
	s.dieWithSupervisor(p)
	if s.Wait {
		p.Call(unix.SYS_RECVFROM, Num(peer), p.Bytes(make([]byte, 8)), Num(1), Num(0), Num(0), Num(0))
	}
	s.stdio(p, peer)
	if s.User {
		s.userNS(p)
	}
	p.Step("mntns")
	p.Call(unix.SYS_MOUNT, p.String("none"), p.String("/"), Num(0), Num(unix.MS_REC|unix.MS_PRIVATE), Num(0))
	s.done(p)
	fds := s.newFDs(p, peer)
	if s.Net {
		s.network(p, fds)
	}
	s.memoryUppers(p, fds)
	if err := s.mounts(p, peer); err != nil {
		return err
	}
	s.pivot(p)
	s.reopen(p)
	if s.Command.TTY {
		s.openPTY(p, fds)
	}
	s.sendFDs(p, peer, fds)
	s.dropPrivileges(p)
	s.dieWithSupervisor(p)
	if s.Network.Joins {
		s.awaitNet(p)
	}
	if err := s.spawn(p, peer); err != nil {
		return err
	}
	return p.err
}

func (s *Setup) done(p *Program) {
	if s.Verbose {
		p.Done()
	}
}

// dieWithSupervisor ties the life of the first process to the supervisor's thread, and then looks whether
// the supervisor was already gone: its end of the socket reads as empty while it lives and
// as closed when not.
func (s *Setup) dieWithSupervisor(p *Program) {
	p.Call(unix.SYS_PRCTL, Num(unix.PR_SET_PDEATHSIG), Num(int(unix.SIGKILL)))
	p.add(op{kind: opAlive})
}

// stdio moves the command's descriptors to 0, 1 and 2 and closes everything else but the socket.
func (s *Setup) stdio(p *Program, peer int) {
	var regs [3]Reg
	for i, fd := range s.Command.Stdio {
		regs[i] = p.CallReg(unix.SYS_FCNTL, Num(fd), Num(unix.F_DUPFD_CLOEXEC), Num(10))
	}
	for i, r := range regs {
		p.Call(unix.SYS_DUP3, FromReg(r), Num(i), Num(0))
	}
	keep := append([]int{peer}, s.Keep...)
	if s.Network.Joins {
		keep = append(keep, s.Network.Socket)
	}
	closeAllBut(p, keep...)
}

// closeAllBut closes the descriptors from 3 on, but for those to keep. Before Linux 5.9 they stay open
// in the first process, which costs nothing but tidiness: all are close-on-exec.
func closeAllBut(p *Program, keep ...int) {
	slices.Sort(keep)
	first := 3
	for _, fd := range keep {
		if fd > first {
			p.Try(unix.SYS_CLOSE_RANGE, Num(first), Num(fd-1), Num(0))
		}
		first = max(first, fd+1)
	}
	p.Try(unix.SYS_CLOSE_RANGE, Num(first), Num(uint32(0xffffffff)), Num(0))
}

// userNS maps the caller to itself.
//
// Source: user_namespaces(7), "Defining user and group ID mappings: writing to uid_map and gid_map".
func (s *Setup) userNS(p *Program) {
	p.Step("userns")
	p.writeFile("/proc/self/setgroups", "deny")
	p.writeFile("/proc/self/uid_map", fmt.Sprintf("%d %d 1\n", s.UID, s.UID))
	p.writeFile("/proc/self/gid_map", fmt.Sprintf("%d %d 1\n", s.GID, s.GID))
	s.done(p)
}

// atFDCWD is AT_FDCWD as a system call argument.
const atFDCWD = ^uintptr(99)

func (p *Program) writeFile(path, text string) {
	r := p.CallReg(unix.SYS_OPENAT, Num(atFDCWD), p.String(path), Num(unix.O_WRONLY|unix.O_CLOEXEC), Num(0))
	p.Call(unix.SYS_WRITE, FromReg(r), p.String(text), Num(len(text)))
	p.Call(unix.SYS_CLOSE, FromReg(r))
}

// newFDs reserves the registers of the descriptors for the supervisor; each holds the socket until
// it is replaced, because a list of descriptors may not have holes.
func (s *Setup) newFDs(p *Program, peer int) [numFDs]Reg {
	var fds [numFDs]Reg
	for i := range fds {
		fds[i] = p.CallReg(unix.SYS_FCNTL, Num(peer), Num(unix.F_DUPFD_CLOEXEC), Num(3))
	}
	return fds
}

// network fills the network namespace. The rules come before the routes, so that without rules there
// are no routes and every connect fails at once with ENETUNREACH.
func (s *Setup) network(p *Program, fds [numFDs]Reg) {
	p.Step("nft")
	p.Alternative(func() {
		nf := p.netlink(unix.NETLINK_NETFILTER)
		size := p.Bytes(binary.NativeEndian.AppendUint32(nil, netlog.ReceiveBuffer))
		p.Try(unix.SYS_SETSOCKOPT, FromReg(nf), Num(unix.SOL_SOCKET), Num(unix.SO_RCVBUFFORCE), size, Num(4))
		p.send(nf, s.Network.Rules)
		p.send(nf, s.Network.Log)
		p.set(fds[FDLog], nf)
		s.done(p)
		p.Step("netns")
		route := p.netlink(unix.NETLINK_ROUTE)
		p.send(route, s.Network.Links)
		p.Try(unix.SYS_CLOSE, FromReg(route))
		s.done(p)
	}, func() {
		p.Degrade()
		route := p.netlink(unix.NETLINK_ROUTE)
		p.send(route, s.Network.LinksOnly)
		p.Try(unix.SYS_CLOSE, FromReg(route))
	})
	if s.Network.DNS != nil {
		dns := p.NewReg()
		o := newCall(unix.SYS_SOCKET, []Arg{Num(unix.AF_INET), Num(unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK), Num(0)})
		o.dst, o.onErr = uint8(dns)+1, next
		p.add(o)
		p.Try(unix.SYS_BIND, FromReg(dns), p.Bytes(s.Network.DNS), Num(len(s.Network.DNS)))
		p.set(fds[FDDNS], dns)
	}
}

// joinNet waits for the network namespace that is made elsewhere, and enters it.
func (s *Setup) joinNet(p *Program) {
	p.Step("netns")
	rights := p.bytes(unix.CmsgSpace(4))
	p.Call(unix.SYS_RECVMSG, Num(s.Network.Socket), p.message(p.bytes(1), rights), Num(unix.MSG_CMSG_CLOEXEC))
	ns := p.Peek(rights, unix.CmsgLen(0))
	p.Call(unix.SYS_SETNS, FromReg(ns), Num(unix.CLONE_NEWNET))
	p.Call(unix.SYS_CLOSE, FromReg(ns))
}

// awaitNet waits until it is set up.
func (s *Setup) awaitNet(p *Program) {
	p.Step("netns")
	p.Call(unix.SYS_RECVFROM, Num(s.Network.Socket), addr(p.bytes(1)), Num(1), Num(0), Num(0), Num(0))
}

// set makes the descriptor in dst a copy of the one in src; a src that was never made leaves it alone.
func (p *Program) set(dst, src Reg) {
	p.Try(unix.SYS_DUP3, FromReg(src), FromReg(dst), Num(unix.O_CLOEXEC))
}

func (p *Program) netlink(family int) Reg {
	return p.CallReg(unix.SYS_SOCKET, Num(unix.AF_NETLINK), Num(unix.SOCK_RAW|unix.SOCK_CLOEXEC), Num(family))
}

func (p *Program) send(sock Reg, batch []byte) {
	p.Call(unix.SYS_SENDTO, FromReg(sock), p.Bytes(batch), Num(len(batch)), Num(0), Num(0), Num(0))
	p.Ack(sock)
}

// pivot makes the staging directory the root and lets go of the host's.
//
// Source: pivot_root(2), "pivot_root(".", ".")".
func (s *Setup) pivot(p *Program) {
	p.Step("pivot_root")
	p.Call(unix.SYS_CHDIR, p.String(s.Staging))
	dot := p.String(".")
	p.Call(unix.SYS_PIVOT_ROOT, dot, dot)
	p.Call(unix.SYS_UMOUNT2, dot, Num(unix.MNT_DETACH))
	p.Call(unix.SYS_CHDIR, p.String("/"))
	s.done(p)
}

// reopen replaces standard input by the world's own view of the same file.
func (s *Setup) reopen(p *Program) {
	in := s.Command.Stdin
	if in == nil {
		return
	}
	p.Step("stdin")
	if in.Path == "" {
		p.Degrade()
		return
	}
	p.Alternative(func() {
		r := p.CallReg(unix.SYS_OPENAT, Num(atFDCWD), p.String(in.Path), Num(unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC), Num(0))
		p.Call(unix.SYS_LSEEK, FromReg(r), Num(in.Offset), Num(unix.SEEK_SET))
		p.Call(unix.SYS_DUP3, FromReg(r), Num(0), Num(0))
	}, p.Degrade)
}

// openPTY makes a PTY of the world's own devpts; its other end goes to the supervisor.
//
// Source: ioctl_tty(2), TIOCSPTLCK, TIOCGPTPEER (Linux 4.13).
func (s *Setup) openPTY(p *Program, fds [numFDs]Reg) {
	p.Step("pty")
	master := p.CallReg(unix.SYS_OPENAT, Num(atFDCWD), p.String("/dev/pts/ptmx"), Num(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC), Num(0))
	p.Call(unix.SYS_IOCTL, FromReg(master), Num(unix.TIOCSPTLCK), p.Bytes(make([]byte, 4)))
	peer := p.CallReg(unix.SYS_IOCTL, FromReg(master), Num(unix.TIOCGPTPEER), Num(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC))
	for i := range 3 {
		p.Call(unix.SYS_DUP3, FromReg(peer), Num(i), Num(0))
	}
	p.set(fds[FDMaster], master)
}

// sendFDs hands the descriptors to the supervisor.
func (s *Setup) sendFDs(p *Program, peer int, fds [numFDs]Reg) {
	p.Step("start")
	msg, rights := p.descriptors(MsgFDs, make([]int, numFDs)...)
	for i, r := range fds {
		p.Poke(rights, unix.CmsgLen(0)+4*i, r)
	}
	p.Call(unix.SYS_SENDMSG, Num(peer), p.message(msg, rights), Num(unix.MSG_NOSIGNAL))
}

// spawn starts the command and lets the first process become init.
func (s *Setup) spawn(p *Program, peer int) error {
	p.Step("exec")
	c := &s.Command
	p.state.paths, p.state.argv, p.state.env = p.strings(c.Paths), p.strings(c.Argv), p.strings(c.Env)
	p.add(op{kind: opSpawn})
	p.state.parent = int32(len(p.ops))
	for i := range 3 {
		p.Try(unix.SYS_CLOSE, Num(i))
	}
	closeAllBut(p, append([]int{peer}, s.Keep...)...)
	p.add(op{kind: opInit})

	p.state.child = int32(len(p.ops))
	p.Call(unix.SYS_SETSID)
	if c.TTY {
		p.Call(unix.SYS_IOCTL, Num(0), Num(unix.TIOCSCTTY), Num(0))
	}
	s.dispositions(p)
	p.Call(unix.SYS_UMASK, Num(c.Umask))
	if c.NoFile != nil {
		lim := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, c.NoFile.Cur), c.NoFile.Max)
		p.Try(unix.SYS_PRLIMIT64, Num(0), Num(unix.RLIMIT_NOFILE), p.Bytes(lim), Num(0))
	}
	p.Step("chdir " + strconv.Quote(c.Dir))
	p.Call(unix.SYS_CHDIR, p.String(c.Dir))
	p.Step("exec")
	blocked, err := c.blocked()
	mask := p.Bytes(binary.NativeEndian.AppendUint64(nil, blocked))
	p.Call(unix.SYS_RT_SIGPROCMASK, Num(unix.SIG_SETMASK), mask, Num(0), Num(8))
	p.add(op{kind: opExec})
	return err
}

// blocked is the set of signals that the command has blocked.
func (c *Command) blocked() (uint64, error) {
	if c.Blocked != nil {
		return *c.Blocked, nil
	}
	var set unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &set); err != nil {
		return 0, os.NewSyscallError("rt_sigprocmask", err)
	}
	return uint64(set.Val[0]), nil
}

// dispositions ignores what the caller had ignored; everything else is at its default already.
func (s *Setup) dispositions(p *Program) {
	if s.Command.Ignored == 0 {
		return
	}
	ign := p.Bytes(append(binary.NativeEndian.AppendUint64(nil, 1), make([]byte, 56)...)) // SIG_IGN
	for sig := 1; sig <= 64; sig++ {
		if s.Command.Ignored&(1<<(sig-1)) != 0 && sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) {
			p.Try(unix.SYS_RT_SIGACTION, Num(sig), ign, Num(0), Num(8))
		}
	}
}
