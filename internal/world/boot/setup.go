package boot

import (
	"encoding/binary"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"substrate/internal/world/mount"
)

// Base is what a world needs before its file view is known.
type Base struct {
	UID, GID int // of the caller: mapped to themselves in a user namespace

	Group   int   // descriptor of the cgroup's directory that the second process starts in; -1 for none
	Keep    []int // descriptors that the first process holds to its end: the locks of the world
	Network Network
	Verbose bool // report each step at the moment it is done
}

// Network is what is done in the network namespace, as prepared netlink messages.
type Network struct {
	Links     []byte // lo up with addresses and default routes that lead nowhere
	LinksOnly []byte // lo up alone, for the case that the rules cannot be had
	Rules     []byte // the nft table, one transaction
	Log       []byte // binds the NFLOG socket
	DNS       []byte // raw sockaddr of the stub resolver, nil for none
}

// Setup is the file view, and the command.
type Setup struct {
	Staging string // existing directory of the host on which the new root is built
	Mounts  []mount.Mount
	Memory  *mount.Memory // uppers in memory; nil if they are on disk
	Command Command
	Verbose bool // report each step at the moment it is done
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

// The places in the lists of descriptors that come with a MsgNet and a MsgBegin. A descriptor that could not be had
// is a copy of the report socket.
const (
	FDLog = iota // NFLOG socket
	FDDNS        // socket of the stub resolver
	FDNet        // the network namespace, of a root's world
	netFDs

	FDUpper  = 0 // the tmpfs with the uppers
	FDMaster = 1 // of the PTY
	viewFDs  = 2
)

// Execute gives the second process the file view and the command, which it becomes. Before, it reports its descriptors with a MsgBegin.
func (pr *Process) Execute(s *Setup) error {
	p := pr.p
	var stdio [3]Reg
	for i := range stdio {
		stdio[i] = p.newReg() // where the descriptors arrive
	}
	for i, r := range stdio {
		p.call(unix.SYS_DUP3, FromReg(r), Num(i), Num(0))
		p.try(unix.SYS_CLOSE, FromReg(r))
	}
	fds := pr.newFDs()
	s.memoryUppers(p, fds[FDUpper])
	if err := s.mounts(p, pr.born.Peer()); err != nil {
		return err
	}
	s.pivot(p)
	s.reopen(p)
	if s.Command.TTY {
		s.openPTY(p, fds[FDMaster])
	}
	p.step(Steps[StepNetns])
	p.call(unix.SYS_READ, FromReg(pr.ready), addr(p.bytes(8)), Num(8))
	dropCapabilities(p, pr.user)
	p.step("start")
	pr.sendFDs(MsgBegin, fds[:viewFDs])
	if err := s.command(p); err != nil {
		return err
	}
	return p.send(pr.born, s.Command.Stdio[:]...)
}

// newFDs reserves the registers of the descriptors for the supervisor; each holds the socket until
// it is replaced, because a list of descriptors may not have holes.
func (pr *Process) newFDs() [max(netFDs, viewFDs)]Reg {
	var fds [max(netFDs, viewFDs)]Reg
	for i := range fds {
		fds[i] = pr.p.callReg(unix.SYS_FCNTL, Num(pr.born.Peer()), Num(unix.F_DUPFD_CLOEXEC), Num(3))
	}
	return fds
}

// set makes the descriptor in dst a copy of the one in src; a src that was never made leaves it alone.
func (p *program) set(dst, src Reg) {
	p.try(unix.SYS_DUP3, FromReg(src), FromReg(dst), Num(unix.O_CLOEXEC))
}

// sendFDs hands descriptors to the supervisor, and tells it what this process has used until now.
func (pr *Process) sendFDs(kind int32, fds []Reg) {
	p := pr.p
	msg, rights := p.descriptors(kind, make([]int, len(fds))...)
	for i, r := range fds {
		p.poke(rights, unix.CmsgLen(0)+4*i, r)
	}
	p.add(Op{Kind: OpUsage, Args: [6]uintptr{addr(msg).val}})
	p.call(unix.SYS_SENDMSG, Num(pr.born.Peer()), p.message(msg, rights), Num(unix.MSG_NOSIGNAL))
}

// pivot makes the staging directory the root and lets go of the host's.
//
// Source: pivot_root(2), "pivot_root(".", ".")".
func (s *Setup) pivot(p *program) {
	p.step("pivot_root")
	p.call(unix.SYS_CHDIR, p.text(s.Staging))
	dot := p.text(".")
	p.call(unix.SYS_PIVOT_ROOT, dot, dot)
	p.call(unix.SYS_UMOUNT2, dot, Num(unix.MNT_DETACH))
	p.call(unix.SYS_CHDIR, p.text("/"))
	p.doneIf(s.Verbose)
}

// reopen replaces standard input by the world's own view of the same file.
func (s *Setup) reopen(p *program) {
	in := s.Command.Stdin
	if in == nil {
		return
	}
	p.step("stdin")
	if in.Path == "" {
		p.degrade()
		return
	}
	p.alternative(func() {
		r := p.callReg(unix.SYS_OPENAT, Num(atFDCWD), p.text(in.Path), Num(unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC), Num(0))
		p.call(unix.SYS_LSEEK, FromReg(r), Num(in.Offset), Num(unix.SEEK_SET))
		p.call(unix.SYS_DUP3, FromReg(r), Num(0), Num(0))
	}, p.degrade)
}

// openPTY makes a PTY of the world's own devpts; its other end goes to the supervisor.
//
// Source: ioctl_tty(2), TIOCSPTLCK, TIOCGPTPEER (Linux 4.13).
func (s *Setup) openPTY(p *program, dst Reg) {
	p.step("pty")
	master := p.callReg(unix.SYS_OPENAT, Num(atFDCWD), p.text("/dev/pts/ptmx"), Num(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC), Num(0))
	p.call(unix.SYS_IOCTL, FromReg(master), Num(unix.TIOCSPTLCK), p.data(make([]byte, 4)))
	peer := p.callReg(unix.SYS_IOCTL, FromReg(master), Num(unix.TIOCGPTPEER), Num(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC))
	for i := range 3 {
		p.call(unix.SYS_DUP3, FromReg(peer), Num(i), Num(0))
	}
	p.set(dst, master)
}

// command executes the command.
func (s *Setup) command(p *program) error {
	c := &s.Command
	p.step("exec")
	if c.TTY {
		p.call(unix.SYS_IOCTL, Num(0), Num(unix.TIOCSCTTY), Num(0))
	}
	s.dispositions(p)
	p.call(unix.SYS_UMASK, Num(c.Umask))
	if c.NoFile != nil {
		lim := binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, c.NoFile.Cur), c.NoFile.Max)
		p.try(unix.SYS_PRLIMIT64, Num(0), Num(unix.RLIMIT_NOFILE), p.data(lim), Num(0))
	}
	p.step("chdir " + strconv.Quote(c.Dir))
	p.call(unix.SYS_CHDIR, p.text(c.Dir))
	p.step("exec")
	blocked, err := c.blocked()
	mask := p.data(binary.NativeEndian.AppendUint64(nil, blocked))
	p.call(unix.SYS_RT_SIGPROCMASK, Num(unix.SIG_SETMASK), mask, Num(0), Num(8))
	p.add(Op{Kind: OpExec, Args: [6]uintptr{p.strings(c.Paths), p.strings(c.Argv), p.strings(c.Env)}})
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
func (s *Setup) dispositions(p *program) {
	if s.Command.Ignored == 0 {
		return
	}
	ign := p.data(append(binary.NativeEndian.AppendUint64(nil, 1), make([]byte, 56)...)) // SIG_IGN
	for sig := 1; sig <= 64; sig++ {
		if s.Command.Ignored&(1<<(sig-1)) != 0 && sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) {
			p.try(unix.SYS_RT_SIGACTION, Num(sig), ign, Num(0), Num(8))
		}
	}
}
