package world

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/procstate"
	"substrate/internal/world/boot"
	"substrate/internal/world/net/dns"
	"substrate/internal/world/net/netlog"
	"substrate/internal/world/view"
)

// defaultGrace is the time between SIGTERM and SIGKILL after a timeout.
const defaultGrace = 2 * time.Second

// run is one command in a world, from fork to its end.
type run struct {
	w   *World
	cmd *Command
	res *Result

	proc   *boot.Process
	log    int       // NFLOG socket, -1 without
	dns    int       // socket of the stub resolver, -1 without
	ns     int       // the network namespace of a root's world, -1 without
	nameAt time.Time // when the network namespace gets its name; zero for never
	null   int       // /dev/null if the command has that, -1 without
	seen   netlog.Distinct
	stub   dns.Stub
	lost   bool // the kernel dropped reports of blocked packets
	begun  bool // the second process was about to become the command
	died   bool // the first process was killed, or the second before it was the command
	buf    []byte
	tty    *terminal

	served *time.Timer // bounds the wait for those who serve the mounts; nil if nobody does

	mu       sync.Mutex // guards what follows
	late     bool       // the wait for those who serve the mounts was too long
	timer    *time.Timer
	timedOut bool

	before Usage // what the process had used before it became the command
}

// Run runs cmd and waits until it has ended and no process of the world is left but its first one, which ends by itself. If the
// file view turns out not to be had, the next strategy is tried, unless the Spec asks for one. An error means that the
// command was not started, or that the supervisor lost sight of it; how the command itself
// ended is in the Result. Run may be called once.
func (w *World) Run(cmd Command) (*Result, error) {
	if w.ran {
		return nil, errRanBefore
	}
	w.ran = true
	for {
		if err := w.interrupted(); err != nil {
			return nil, err
		}
		res, err := w.attempt(&cmd)
		var failure *setupFailure
		if !errors.As(err, &failure) || !failure.ofView {
			return res, err
		}
		if err := w.fallThrough(failure); err != nil {
			return nil, err
		}
	}
}

// attempt is Run with the view that there is.
func (w *World) attempt(cmd *Command) (*Result, error) {
	files, ok := w.view.(view.OnHost)
	if !ok {
		defer w.spec.Signals.follow(w)()
		return w.runView(cmd)
	}
	if err := w.dropProcess(); err != nil {
		return nil, err
	}
	runtime.LockOSThread() // PR_SET_PDEATHSIG is bound to the thread that forks
	defer runtime.UnlockOSThread()
	return w.runOnHost(files, cmd)
}

// runView is Run with a view in a mount namespace.
func (w *World) runView(cmd *Command) (*Result, error) {
	r := &run{w: w, cmd: cmd, res: w.newResult(), log: -1, dns: -1, ns: -1, null: -1}
	defer r.close()
	if err := r.start(); err != nil {
		return nil, err
	}
	r.res.Started = time.Now()
	r.armTimeout()
	err := r.supervise()
	r.res.Duration = time.Since(r.res.Started)
	r.disarmTimeout()
	if err != nil || r.died {
		if err = errors.Join(err, r.w.endProcess()); err != nil {
			r.closeTerminal()
			return nil, err
		}
	}
	r.closeTerminal()
	// No other process is left. The first one is busy taking the namespaces down, which Close waits for.
	r.collect()
	return r.res, nil
}

// supervise answers what the first process and the two sockets have to say, until the command has ended.
func (r *run) supervise() error {
	ended := false
	for !ended {
		fds := []unix.PollFd{{Fd: int32(r.proc.Conn()), Events: unix.POLLIN}, {Fd: int32(r.log), Events: unix.POLLIN}, {Fd: int32(r.dns), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, r.nameNet()); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return fmt.Errorf("wait for the world: %w", err)
		}
		if fds[1].Revents != 0 {
			r.readLog()
		}
		if fds[2].Revents != 0 {
			r.answerDNS()
		}
		if fds[0].Revents != 0 {
			var err error
			if ended, err = r.message(); err != nil {
				return err
			}
		}
	}
	return nil
}

// message takes one message of the first process and says whether it was the last.
func (r *run) message() (bool, error) {
	m, fds, err := r.proc.Receive()
	if errors.Is(err, boot.ErrGone) {
		return true, r.gone()
	}
	if err != nil {
		return true, err
	}
	step := r.proc.Step(m)
	switch m.Kind {
	case boot.MsgStep:
		r.w.observe(step, "ok", true)
	case boot.MsgDegrade:
		r.without(m)
	case boot.MsgFail:
		return true, r.w.setupError(step, syscall.Errno(m.Errno))
	case boot.MsgExec:
		r.execFailed(syscall.Errno(m.Errno))
	case boot.MsgFuse:
		return false, r.serve(fds)
	case boot.MsgNet:
		r.takeNet(fds)
	case boot.MsgBegin:
		r.takeView(fds)
		r.stands()
		r.begins(m)
	case boot.MsgExit:
		if !r.begun {
			return true, r.gone()
		}
		r.exited(m)
		r.w.ended = true
		return true, nil
	}
	return false, nil
}

// gone is the end of a first process that could not report: something killed it, after a
// timeout we ourselves, under a tight limit of memory the kernel.
func (r *run) gone() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.died = true
	r.res.Signal = int(unix.SIGKILL)
	r.res.Exit = 128 + r.res.Signal
	if r.timedOut || r.w.outOfMemory() {
		return nil
	}
	if err := r.tooLate(); err != nil {
		return err
	}
	return errKilled
}

var errKilled = errors.New("the first process of the world was killed")

func (r *run) exited(m boot.Message) {
	ws := unix.WaitStatus(m.Status)
	switch {
	case r.res.ExecErr != nil: // the status is already known
	case ws.Signaled():
		r.res.Signal = int(ws.Signal())
		r.res.Exit = 128 + r.res.Signal
	default:
		r.res.Exit = ws.ExitStatus()
	}
	r.res.Usage.User = max(0, time.Duration(m.Utime)*time.Microsecond-r.before.User)
	r.res.Usage.System = max(0, time.Duration(m.Stime)*time.Microsecond-r.before.System)
	r.res.Usage.MaxRSS = m.MaxRSS << 10
}

// execFailed turns the errno of execve into the status that a shell would give.
//
// Source: POSIX.1-2017 XCU, 2.8.2 "Exit Status for Commands".
func (r *run) execFailed(errno syscall.Errno) {
	r.res.ExecErr = fmt.Errorf("execute %s: %w", r.cmd.Path, errno)
	r.res.Exit = 126
	if errno == syscall.ENOENT || errno == syscall.ENOTDIR {
		r.res.Exit = 127
	}
}

// takeNet takes the descriptors of the network. One that could not be had is a copy of the report socket, recognised by being no netlink,
// no inet and no namespace.
func (r *run) takeNet(fds []int) {
	for i, fd := range fds {
		switch {
		case i == boot.FDLog && r.log < 0 && isSocket(fd, unix.AF_NETLINK):
			r.log = fd
		case i == boot.FDDNS && r.dns < 0 && isSocket(fd, unix.AF_INET):
			r.dns = fd
		case i == boot.FDNet && r.ns < 0 && r.w.spec.Root && isNamespace(fd):
			r.ns = fd
			r.nameAt = time.Now().Add(nameAfter)
		default:
			_ = unix.Close(fd)
		}
	}
}

// takeView takes the descriptors of the file view in the same way.
func (r *run) takeView(fds []int) {
	for i, fd := range fds {
		switch {
		case i == boot.FDUpper && r.w.view.Mounts().Memory != nil:
			r.w.memory = fd
		case i == boot.FDMaster && r.cmd.TTY:
			r.tty = newTerminal(fd, r.cmd.Stdin, r.cmd.Stdout)
		default:
			_ = unix.Close(fd)
		}
	}
}

// isNamespace says whether fd is a namespace.
func isNamespace(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Type == unix.NSFS_MAGIC
}

func isSocket(fd, domain int) bool {
	d, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err == nil && d == domain
}

// setupPatience is what the set-up of a world may take in addition to the timeout of the command.
const setupPatience = 30 * time.Second

// armTimeout begins to watch the set-up; see begins.
func (r *run) armTimeout() {
	if r.cmd.Timeout <= 0 {
		return
	}
	grace := r.cmd.Grace
	if grace <= 0 {
		grace = defaultGrace
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = time.AfterFunc(r.cmd.Timeout+setupPatience, func() {
		r.mu.Lock()
		r.timedOut = true
		r.mu.Unlock()
		_ = r.w.Signal(boot.SignalTermAll)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.timer = time.AfterFunc(grace, func() { _ = r.w.Signal(unix.SIGKILL) })
	})
}

// begins is called when the world stands and the command is about to be started: its time runs from here.
func (r *run) begins(m boot.Message) {
	r.begun = true
	r.w.listen()
	r.before.User, r.before.System = time.Duration(m.Utime)*time.Microsecond, time.Duration(m.Stime)*time.Microsecond
	r.res.Started = time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil && !r.timedOut {
		r.timer.Reset(r.cmd.Timeout)
	}
}

func (r *run) disarmTimeout() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
	}
	if r.timedOut {
		r.res.TimedOut = true
		r.res.Exit = 124
	}
}

func (r *run) closeTerminal() {
	if r.tty != nil {
		r.tty.close()
	}
}

// collect gathers what the world leaves behind: the last network events, usage, and the diff.
func (r *run) collect() {
	r.readRest()
	r.res.Blocked = r.seen.Events()
	r.res.Lookups = r.stub.Names()
	if r.seen.More || r.stub.More() {
		r.degrade("netlog", "more network attempts or names than are kept; the list is incomplete", true)
	}
	if r.lost {
		r.degrade("netlog", "the kernel dropped reports of blocked packets; the list of network attempts is incomplete", true)
	}
	r.kernelLog()
	if g := r.w.group; g != nil {
		u := g.Usage()
		r.res.Usage.MemoryPeak, r.res.Usage.OOMKills = u.MemoryPeak, u.OOMKills
		r.res.Usage.GroupCPU = max(0, u.CPU-r.before.User-r.before.System)
	}
	r.res.Degraded = r.w.degradations(r.res)
	r.w.diff(r.res)
}

// logSettings are the settings of the kernel that keep the LOG lines of a world from the caller's eyes.
//
// Source: Linux Documentation/admin-guide/sysctl/kernel.rst, "dmesg_restrict"; networking/netfilter-sysctl.rst, "nf_log_all_netns".
var logSettings = []struct{ path, hides, name, message string }{
	{"/proc/sys/kernel/dmesg_restrict", "1", "dmesg", "kernel.dmesg_restrict=1; LOG lines may not be visible"},
	{"/proc/sys/net/netfilter/nf_log_all_netns", "0", "nf_log", "net.netfilter.nf_log_all_netns=0; LOG lines will not be visible"},
}

// kernelLog tells those who watch the set-up whether they can see LOG lines. Nobody else asks for them.
func (r *run) kernelLog() {
	if r.w.spec.Observe == nil || r.log < 0 {
		return
	}
	for _, s := range logSettings {
		if text, err := os.ReadFile(s.path); err == nil && strings.TrimSpace(string(text)) == s.hides {
			r.degrade(s.name, s.message, false)
		}
	}
}

func (r *run) degrade(name, message string, asked bool) {
	r.res.Degraded = append(r.res.Degraded, Degradation{Name: name, Message: message, Asked: asked})
}

// without records what the world has to do without.
func (r *run) without(m boot.Message) {
	step, err := r.proc.Step(m), syscall.Errno(m.Errno)
	switch {
	case m.Step == boot.StepNetns:
		r.w.observe(step, err.Error(), false)
		r.degrade("netns", noNetns, true)
	case step == "cgroup":
		r.w.noGroup(fmt.Errorf("clone3 into the cgroup: %w", err))
	default:
		r.degradeStep(step, err)
	}
}

// degradeStep records that the first process had to leave a step out.
func (r *run) degradeStep(step string, err error) {
	r.w.observe(step, err.Error(), false)
	message := step + ": " + err.Error()
	switch step {
	case "nft":
		message = "nft not available; netfilter scoping/logging disabled"
	case "stdin":
		message = "standard input is a file that the world does not show: a command that writes to /dev/stdin would change it"
	case "seccomp":
		message = "no seccomp filter (" + err.Error() + "); keyrings, vsock and cgroup namespaces are within reach"
	}
	r.degrade(step, message, true)
}

// readRest takes what has come since the first process said that all others have ended. Mostly that is nothing, and the buffer, which
// in a new process is dear, is not needed.
func (r *run) readRest() {
	fds := []unix.PollFd{{Fd: int32(r.log), Events: unix.POLLIN}, {Fd: int32(r.dns), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); n == 0 && err == nil {
		return
	}
	r.readLog()
	r.answerDNS()
}

// readLog takes all reports of blocked packets that are waiting.
func (r *run) readLog() {
	if r.log < 0 {
		return
	}
	for {
		n, _, err := unix.Recvfrom(r.log, r.buffer(), unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			r.lost = true
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return
		default:
			events, _ := netlog.Decode(r.buf[:n]) // what cannot be decoded was no packet of an attempt
			for _, e := range events {
				r.seen.Add(e)
			}
		}
	}
}

// answerDNS answers all queries that are waiting.
func (r *run) answerDNS() {
	if r.dns < 0 {
		return
	}
	for {
		n, from, err := unix.Recvfrom(r.dns, r.buffer(), unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		if reply := r.stub.Answer(r.buf[:n]); reply != nil {
			_ = unix.Sendto(r.dns, reply, unix.MSG_DONTWAIT, from) // a client that is gone needs no answer
		}
	}
}

func (r *run) buffer() []byte {
	if r.buf == nil {
		r.buf = make([]byte, 64<<10)
	}
	return r.buf
}

func (r *run) close() {
	r.stands()
	for _, fd := range []*int{&r.log, &r.dns, &r.ns, &r.null} {
		closeFD(fd)
	}
}

// noFile is the soft limit of open files that the caller had, if the Go runtime has raised it.
func noFile() *unix.Rlimit {
	cur, hard, ok := procstate.NoFile()
	if !ok {
		return nil
	}
	return &unix.Rlimit{Cur: cur, Max: hard}
}
