package world

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/procstate"
	"substrate/internal/world/boot"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// run is one command in a world, from fork to its end.
type run struct {
	w   *World
	cmd *Command
	res *Result

	proc  *boot.Process
	net   network
	clock clock
	tty   *terminal // nil without
	null  int       // /dev/null if the command has that, -1 without
	begun bool      // the command process was about to become the command
	died  bool      // the init process was killed, or the command process before it was the command

	before Usage // what the command process had used before it became the command
}

// Run runs cmd and waits until it has ended and no process of the world is left but its init
// process, which ends by itself. If the kernel refuses the file view, the next strategy is tried,
// unless the Spec asks for one. An error means that the command was not started, or that the
// supervisor lost sight of it; how the command itself ended is in the Result. Run may be called
// once.
func (w *World) Run(cmd Command) (*Result, error) {
	for {
		if err := w.signals.interrupted(w.spec.Signals); err != nil {
			return nil, err
		}
		res, err := w.runOnce(&cmd)
		var failure *setupError
		if !errors.As(err, &failure) || !failure.ofView {
			return res, err
		}
		if err := w.fallBack(failure); err != nil {
			return nil, err
		}
	}
}

// runOnce is Run with the view that has been selected.
func (w *World) runOnce(cmd *Command) (*Result, error) {
	files, ok := w.attempt.view.(view.OnHost)
	if !ok {
		defer w.spec.Signals.follow(w)()
		return w.runInView(cmd)
	}
	if err := w.dropInit(); err != nil {
		return nil, err
	}
	runtime.LockOSThread() // PR_SET_PDEATHSIG is bound to the thread that forks
	defer runtime.UnlockOSThread()
	return w.runOnHost(files, cmd)
}

// runInView is runOnce with a view in a mount namespace.
func (w *World) runInView(cmd *Command) (*Result, error) {
	r := &run{w: w, cmd: cmd, res: w.newResult(), net: network{log: -1, dns: -1, ns: -1}, null: -1}
	defer func() {
		for _, fd := range []*int{&r.net.log, &r.net.dns, &r.net.ns, &r.null} {
			closeFD(fd)
		}
	}()
	if err := r.start(); err != nil {
		return nil, err
	}
	r.res.Started = time.Now()
	r.clock.arm(cmd.Timeout, cmd.Grace, w.Signal)
	err := r.supervise()
	r.res.Duration = time.Since(r.res.Started)
	if r.clock.stop() {
		r.res.TimedOut = true
		r.res.Exit = 124
	}
	if err != nil || r.died {
		err = errors.Join(err, w.endInit())
	} else {
		// No other process is left. This one is busy taking the namespaces down, which Close waits
		// for.
		w.leaving = w.signals.end(w.spec.Signals)
	}
	if r.tty != nil {
		_ = r.tty.close() // the command has ended; the caller can do nothing about its terminal
	}
	if err != nil {
		return nil, err
	}
	return r.collect(), nil
}

func (w *World) newResult() *Result {
	return &Result{Strategy: w.attempt.strategy, Fallbacks: reasons(w.selection.rejected), WorldID: w.ID, Name: w.Name}
}

// degradations are everything that the world had to do without until now, and more.
func (w *World) degradations(more []Degradation) []Degradation {
	return slices.Concat(strategyWarnings(w.attempt.strategy, w.spec.Strategy), w.report.degraded, viewNotes(w.attempt.view.Mounts()), more)
}

// noNetns is the degradation of a world with the host's network (RPL9).
const noNetns = "netns unavailable or insufficient privileges; skipping network scoping"

// supervise reads what the processes of the world and the two sockets send, until the command has
// ended.
func (r *run) supervise() error {
	for ended := false; !ended; {
		left, err := r.net.bindName(r.w.netnsName())
		if err != nil {
			r.w.forget(state.KindNetns)
			r.degrade("netns-name", "the network namespace has no name for ip-netns(8): "+err.Error(), false)
		}
		fds := []unix.PollFd{{Fd: int32(r.proc.Conn()), Events: unix.POLLIN}, {Fd: int32(r.net.log), Events: unix.POLLIN}, {Fd: int32(r.net.dns), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, left); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return fmt.Errorf("wait for the world: %w", err)
		}
		r.net.read(fds[1].Revents != 0, fds[2].Revents != 0)
		if fds[0].Revents != 0 {
			if ended, err = r.message(); err != nil {
				return err
			}
		}
	}
	return nil
}

// message handles one message of the world's processes and reports whether it was the last.
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
		r.w.report.step(step, "ok", true)
	case boot.MsgDegrade:
		r.degradeStep(m)
	case boot.MsgFail:
		return true, r.w.setupFailed(step, syscall.Errno(m.Errno))
	case boot.MsgExec:
		r.execFailed(syscall.Errno(m.Errno))
	case boot.MsgFuse:
		return false, r.serve(fds)
	case boot.MsgNet:
		r.net.take(fds, r.w.spec.Root)
	case boot.MsgBegin:
		r.takeView(fds)
		r.begin(m)
	case boot.MsgExit:
		if !r.begun {
			return true, r.gone()
		}
		r.exited(m)
		return true, nil
	}
	return false, nil
}

// gone handles the end of an init process that could not report: it was killed, after a timeout by
// us, under a tight memory limit by the kernel.
func (r *run) gone() error {
	r.died = true
	r.res.Signal = int(unix.SIGKILL)
	r.res.Exit = 128 + r.res.Signal
	timedOut, serversLate := r.clock.passed()
	switch {
	case timedOut, r.w.group != nil && r.w.group.Usage().OOMKills > 0:
		return nil
	case serversLate:
		return errServersLate()
	}
	return errKilled
}

var errKilled = errors.New("the init process of the world was killed")

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
	r.res.Exit = procstate.StartStatus(errno)
}

// takeView takes the descriptors of the file view. One that could not be made is a copy of the
// report socket.
func (r *run) takeView(fds []int) {
	for i, fd := range fds {
		switch {
		case i == boot.FDUpper && r.w.attempt.view.Mounts().Memory != nil:
			r.w.attempt.memory = fd
		case i == boot.FDMaster && r.cmd.TTY:
			r.tty = newTerminal(fd, r.cmd.Stdin, r.cmd.Stdout)
		default:
			_ = unix.Close(fd)
		}
	}
}

// begin is called when the world is set up and the command is about to start: its time runs from
// here.
func (r *run) begin(m boot.Message) {
	r.begun = true
	r.w.signals.listen(r.w.spec.Signals)
	r.before.User, r.before.System = time.Duration(m.Utime)*time.Microsecond, time.Duration(m.Stime)*time.Microsecond
	r.res.Started = time.Now()
	r.clock.begin(r.cmd.Timeout)
}

// collect gathers what the world leaves behind: the last network events, usage, and the diff.
func (r *run) collect() *Result {
	if r.net.rest() {
		r.degrade("netlog", "too many network attempts or names; the list is incomplete", true)
	}
	r.res.Blocked, r.res.Lookups = r.net.seen.Events(), r.net.stub.Names()
	if r.net.lost {
		r.degrade("netlog", "the kernel dropped reports of blocked packets; the list of network attempts is incomplete", true)
	}
	if r.w.spec.Observe != nil && r.net.log >= 0 { // nobody else asks for LOG lines
		for _, s := range logSettings {
			if text, err := os.ReadFile(s.path); err == nil && strings.TrimSpace(string(text)) == s.hides {
				r.degrade(s.name, s.message, false)
			}
		}
	}
	if g := r.w.group; g != nil {
		u := g.Usage()
		r.res.Usage.MemoryPeak, r.res.Usage.OOMKills = u.MemoryPeak, u.OOMKills
		r.res.Usage.GroupCPU = max(0, u.CPU-r.before.User-r.before.System)
	}
	r.res.Degraded = r.w.degradations(r.res.Degraded)
	r.w.diff(r.res)
	return r.res
}

// logSettings are settings of the kernel that hide the LOG lines of a world from the caller.
//
// Source: Linux Documentation/admin-guide/sysctl/kernel.rst, "dmesg_restrict";
// networking/netfilter-sysctl.rst, "nf_log_all_netns".
var logSettings = []struct{ path, hides, name, message string }{
	{"/proc/sys/kernel/dmesg_restrict", "1", "dmesg", "kernel.dmesg_restrict=1; LOG lines may not be visible"},
	{"/proc/sys/net/netfilter/nf_log_all_netns", "0", "nf_log", "net.netfilter.nf_log_all_netns=0; LOG lines will not be visible"},
}

func (r *run) degrade(name, message string, asked bool) {
	r.res.Degraded = append(r.res.Degraded, Degradation{Name: name, Message: message, Asked: asked})
}

// degradeStep records that the world has to do without a step of its set-up.
func (r *run) degradeStep(m boot.Message) {
	step, err := r.proc.Step(m), syscall.Errno(m.Errno)
	if step == "cgroup" {
		r.w.report.noGroup(r.w.spec.Limits, fmt.Errorf("clone3 into the cgroup: %w", err))
		return
	}
	r.w.report.step(step, err.Error(), false)
	message := step + ": " + err.Error()
	switch step {
	case "netns":
		if m.Step == boot.StepNetns {
			message = noNetns
		}
	case "nft":
		message = "nft not available; netfilter scoping/logging disabled"
	case "stdin":
		message = "standard input is a file that the world does not show: a command that writes to /dev/stdin would change it"
	case "seccomp":
		message = "no seccomp filter (" + err.Error() + "); keyrings, vsock and cgroup namespaces are within reach"
	}
	r.degrade(step, message, true)
}

// noFile is the soft limit of open files that the caller had, if the Go runtime has raised it.
func noFile() *unix.Rlimit {
	cur, hard, ok := procstate.NoFile()
	if !ok {
		return nil
	}
	return &unix.Rlimit{Cur: cur, Max: hard}
}
