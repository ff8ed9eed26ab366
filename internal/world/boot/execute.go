package boot

import (
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"substrate/internal/world/mount"
	"substrate/internal/world/ops"
)

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

// The places in the lists of descriptors that come with a MsgNet and a MsgBegin. A descriptor that
// could not be opened is a copy of the report socket.
const (
	FDLog = iota // NFLOG socket
	FDDNS        // socket of the stub resolver
	FDNet        // the network namespace, of a root's world
	netFDs

	FDUpper  = 0 // the tmpfs with the uppers
	FDMaster = 1 // of the PTY
	viewFDs  = 2

	maxFDs = max(netFDs, viewFDs)
)

// Execute gives the command process the file view and the command. It reports its descriptors with
// a MsgBegin before it becomes the command.
func (pr *Process) Execute(s *Setup) error {
	p := pr.p
	var stdio [3]ops.Reg
	for i := range stdio {
		stdio[i] = p.NewReg() // where the descriptors arrive
	}
	for i, r := range stdio {
		p.Call(unix.SYS_DUP3, ops.FromReg(r), ops.Num(i), ops.Num(0))
		p.Try(unix.SYS_CLOSE, ops.FromReg(r))
	}
	fds := newFDs(p)
	s.memoryUppers(p, fds[FDUpper])
	if err := s.mounts(p); err != nil {
		return err
	}
	s.pivot(p)
	s.reopen(p)
	if s.Command.TTY {
		s.openPTY(p, fds[FDMaster])
	}
	p.Step("netns")
	p.Call(unix.SYS_READ, ops.FromReg(pr.ready), p.Zeros(8), ops.Num(8))
	dropCapabilities(p, pr.user)
	p.Step("start")
	sendFDs(p, MsgBegin, fds[:viewFDs])
	if err := s.command(p); err != nil {
		return err
	}
	return pr.send(s.Command.Stdio[:]...)
}

// newFDs reserves the registers of the descriptors for the supervisor. Each holds the socket until
// it is replaced, because a list of descriptors may not have holes.
func newFDs(p *ops.Program) (fds [maxFDs]ops.Reg) {
	for i := range fds {
		fds[i] = p.CallReg(unix.SYS_FCNTL, ops.FromReg(regSocket), ops.Num(unix.F_DUPFD_CLOEXEC), ops.Num(initSocket))
	}
	return fds
}

// set makes the descriptor in dst a copy of the one in src. It changes nothing if src is closed.
func set(p *ops.Program, dst, src ops.Reg) {
	p.Try(unix.SYS_DUP3, ops.FromReg(src), ops.FromReg(dst), ops.Num(unix.O_CLOEXEC))
}

// sendFDs hands descriptors to the supervisor and reports what this process has used until now.
func sendFDs(p *ops.Program, kind int32, fds []ops.Reg) {
	msg, rights := descriptors(p, kind, make([]int, len(fds))...)
	for i, r := range fds {
		p.Add(ops.Poke, rights.Plus(unix.CmsgLen(0)+4*i), ops.FromReg(r))
	}
	p.Add(ops.Usage, msg)
	p.Call(unix.SYS_SENDMSG, ops.FromReg(regSocket), message(p, msg, rights, len(fds)), ops.Num(unix.MSG_NOSIGNAL))
}

// descriptors prepares a Message of that kind and the control part that carries fds.
func descriptors(p *ops.Program, kind int32, fds ...int) (msg, rights ops.Arg) {
	m := Message{Kind: kind}
	return p.Data(unsafe.Slice((*byte)(unsafe.Pointer(&m)), unsafe.Sizeof(m))), p.Data(unix.UnixRights(fds...))
}

// message prepares a struct msghdr for a Message, with that many descriptors.
//
// Source: sendmsg(2).
func message(p *ops.Program, msg, rights ops.Arg, fds int) ops.Arg {
	iov := p.Words(msg, ops.Num(unsafe.Sizeof(Message{})))
	none := ops.Num(0)
	return p.Words(none, none, iov, ops.Num(1), rights, ops.Num(unix.CmsgSpace(4*fds)), none)
}

// pivot makes the staging directory the root and lets go of the host's.
//
// Source: pivot_root(2), "pivot_root(".", ".")".
func (s *Setup) pivot(p *ops.Program) {
	p.Step("pivot_root")
	p.Call(unix.SYS_CHDIR, p.Text(s.Staging))
	dot := p.Text(".")
	p.Call(unix.SYS_PIVOT_ROOT, dot, dot)
	p.Call(unix.SYS_UMOUNT2, dot, ops.Num(unix.MNT_DETACH))
	p.Call(unix.SYS_CHDIR, p.Text("/"))
	doneIf(p, s.Verbose)
}

// reopen replaces standard input by the world's own view of the same file.
func (s *Setup) reopen(p *ops.Program) {
	in := s.Command.Stdin
	if in == nil {
		return
	}
	p.Step("stdin")
	if in.Path == "" {
		p.Add(ops.ReportDegrade)
		return
	}
	p.Alternative(func() {
		r := p.CallReg(unix.SYS_OPENAT, ops.CWD, p.Text(in.Path), ops.Num(unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC), ops.Num(0))
		p.Call(unix.SYS_LSEEK, ops.FromReg(r), ops.Num(in.Offset), ops.Num(unix.SEEK_SET))
		p.Call(unix.SYS_DUP3, ops.FromReg(r), ops.Num(0), ops.Num(0))
	}, func() { p.Add(ops.ReportDegrade) })
}

// openPTY makes a PTY of the world's own devpts; its other end goes to the supervisor.
//
// Source: ioctl_tty(2), TIOCSPTLCK, TIOCGPTPEER (Linux 4.13).
func (s *Setup) openPTY(p *ops.Program, dst ops.Reg) {
	p.Step("pty")
	master := p.CallReg(unix.SYS_OPENAT, ops.CWD, p.Text("/dev/pts/ptmx"), ops.Num(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC), ops.Num(0))
	p.Call(unix.SYS_IOCTL, ops.FromReg(master), ops.Num(unix.TIOCSPTLCK), p.Zeros(4))
	peer := p.CallReg(unix.SYS_IOCTL, ops.FromReg(master), ops.Num(unix.TIOCGPTPEER), ops.Num(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC))
	for i := range 3 {
		p.Call(unix.SYS_DUP3, ops.FromReg(peer), ops.Num(i), ops.Num(0))
	}
	set(p, dst, master)
}

// command executes the command.
func (s *Setup) command(p *ops.Program) error {
	c := &s.Command
	p.Step("exec")
	if c.TTY {
		p.Call(unix.SYS_IOCTL, ops.Num(0), ops.Num(unix.TIOCSCTTY), ops.Num(0))
	}
	// Other dispositions than SIG_IGN are at their default already.
	if c.Ignored != 0 {
		ignore := p.Words(ops.Num(sigIgn), ops.Num(0), ops.Num(0), ops.Num(0))
		for sig := 1; sig <= 64; sig++ {
			if c.Ignored&(1<<(sig-1)) != 0 && sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) {
				p.Try(unix.SYS_RT_SIGACTION, ops.Num(sig), ignore, ops.Num(0), ops.Num(8))
			}
		}
	}
	p.Call(unix.SYS_UMASK, ops.Num(c.Umask))
	if c.NoFile != nil {
		limit := p.Words(ops.Num(c.NoFile.Cur), ops.Num(c.NoFile.Max))
		p.Try(unix.SYS_PRLIMIT64, ops.Num(0), ops.Num(unix.RLIMIT_NOFILE), limit, ops.Num(0))
	}
	p.Step("chdir " + strconv.Quote(c.Dir))
	p.Call(unix.SYS_CHDIR, p.Text(c.Dir))
	p.Step("exec")
	blocked, err := c.blocked()
	p.Call(unix.SYS_RT_SIGPROCMASK, ops.Num(unix.SIG_SETMASK), p.Words(ops.Num(blocked)), ops.Num(0), ops.Num(8))
	p.Add(ops.Exec, p.Strings(c.Paths), p.Strings(c.Argv), p.Strings(c.Env))
	return err
}

// sigIgn is SIG_IGN.
const sigIgn = 1

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
