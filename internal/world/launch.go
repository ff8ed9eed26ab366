package world

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/procstate"
	"substrate/internal/world/boot"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// noNetns is the degradation of a world with the host's network (RPL9).
const noNetns = "netns unavailable or insufficient privileges; skipping network scoping"

var errRanBefore = errors.New("this world has already run a command")

func (w *World) newResult() *Result {
	return &Result{Strategy: w.strategy, Fallbacks: w.fellBack(), WorldID: w.ID, Name: w.Name}
}

// degradations are all that the world had to do without until now, before those that res has already.
func (w *World) degradations(res *Result) []Degradation {
	return slices.Concat(w.strategyWarnings(), w.degraded, w.viewNotes(), res.Degraded)
}

// start gives the first process its file view and the command.
func (r *run) start() error {
	w := r.w
	if err := w.bear(); err != nil {
		return w.setupError("clone", err)
	}
	if err := w.settle(); err != nil {
		return err
	}
	r.proc = w.proc
	setup, err := r.setup()
	if err != nil {
		return err
	}
	return r.proc.Execute(setup)
}

// bearEarly starts the first process before it is known what the world will be like, so that it makes its network namespace
// meanwhile. What keeps it from that, [run.start] will tell.
func (w *World) bearEarly() {
	if len(w.candidates) > 0 && !w.candidates[0].NoWorld {
		_ = w.bear()
	}
}

// bear starts the first process if there is none.
func (w *World) bear() error {
	if w.proc != nil {
		return nil
	}
	proc, err := boot.Start(!w.spec.Root)
	if err != nil {
		return err
	}
	w.settled, w.grouped = false, false
	w.use(proc)
	crashpoint("born", "")
	return nil
}

// settleEarly is settle if the disk of the upper, whose lock the first process holds, is known already.
func (w *World) settleEarly() error {
	if w.candidates[0].AnyDisk || w.proc == nil {
		return nil
	}
	return w.settle()
}

// settle tells the first process all but the file view. A world without a cgroup is a world, and says so.
func (w *World) settle() error {
	if w.settled {
		return nil
	}
	w.settled = true
	base := &boot.Base{UID: os.Geteuid(), GID: os.Getegid(), Group: -1, Verbose: w.spec.Observe != nil}
	switch {
	case w.noDivide != nil:
		w.enterScope(w.proc.PID())
		w.grouped = w.group != nil
	case w.group == nil:
	case w.proc.NeedsGroup():
		if err := w.group.Add(w.proc.PID()); err != nil {
			w.noGroup(err)
		} else {
			w.grouped = true
		}
	default:
		base.Group = w.group.FD()
	}
	w.countFirst()
	if w.group != nil {
		w.observe("cgroup", "ok", true)
	}
	// A supervisor that is killed leaves a first process that is about to die. Until it has, the world is not
	// to be taken for a leftover: it may be in the middle of a mount.
	for _, fd := range []int{w.lock, w.upperFD, w.slot} {
		if fd >= 0 {
			base.Keep = append(base.Keep, fd)
		}
	}
	var err error
	if base.Network, err = w.network(); err != nil {
		return err
	}
	err = w.proc.Configure(base)
	crashpoint("process", "")
	return err
}

// dropProcess ends a first process that will not get the command.
func (w *World) dropProcess() error {
	err := w.endProcess()
	w.ended = false
	if w.noDivide != nil && w.group != nil { // a scope, which went with its process
		err = errors.Join(err, w.group.Close())
		w.group = nil
	}
	return err
}

// nameAfter is the time after which a world's network namespace gets its name. To give one and to take it away costs as much as a tenth
// of a short world, whose end comes before anybody could use it.
const nameAfter = 10 * time.Millisecond

// nameNet names the network namespace when it is time, and returns for how many milliseconds it is not; -1 if there is nothing left to name.
func (r *run) nameNet() int {
	if r.nameAt.IsZero() {
		return -1
	}
	if left := time.Until(r.nameAt); left > 0 {
		return int(left.Milliseconds()) + 1
	}
	r.nameAt = time.Time{}
	w := r.w
	if err := netns.Bind(r.ns, w.netnsName()); err != nil {
		w.forget(state.KindNetns)
		r.degrade("netns-name", "the network namespace has no name for ip-netns(8): "+err.Error(), false)
		return -1
	}
	crashpoint(state.KindNetns, w.netnsName())
	return -1
}

// setup writes down the file view and the command.
func (r *run) setup() (*boot.Setup, error) {
	mounts := r.w.view.Mounts()
	s := &boot.Setup{
		Staging: r.w.shared.Staging, Mounts: mounts.List, Memory: mounts.Memory, Verbose: r.w.spec.Observe != nil,
	}
	var err error
	s.Command, err = r.command()
	return s, err
}

// command turns the Command into descriptors and strings.
func (r *run) command() (boot.Command, error) {
	c := r.cmd
	out := boot.Command{
		Paths: candidates(c), Argv: c.Argv, Env: c.Env, Dir: c.Dir, Umask: c.Umask,
		TTY: c.TTY, Ignored: procstate.Ignored(), NoFile: noFile(),
	}
	for i, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		var err error
		if f != nil {
			out.Stdio[i] = int(f.Fd())
		} else if out.Stdio[i], err = r.devNull(); err != nil {
			return out, fmt.Errorf("open stdio of the command: %w", err)
		}
		if err := leadsOut(out.Stdio[i]); err != nil {
			return out, fmt.Errorf("pass descriptor %d to the command: %w", i, err)
		}
	}
	if procstate.Known() {
		blocked := procstate.Blocked()
		out.Blocked = &blocked
	}
	out.Stdin = reopen(out.Stdio[0])
	return out, nil
}

// devNull opens /dev/null once.
func (r *run) devNull() (int, error) {
	if r.null < 0 {
		fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
		}
		r.null = fd
	}
	return r.null, nil
}

// reopen says how the first process opens a file that is standard input once more inside the world, or nil if fd
// is no file that could be written through it: opened anew by /dev/stdin or /proc/self/fd/0, a descriptor of the
// host leads to the host's file.
func reopen(fd int) *boot.Reopen {
	var st, there unix.Stat_t
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY || unix.Fstat(fd, &st) != nil {
		return nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink == 0 {
		return nil
	}
	r := &boot.Reopen{}
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err == nil && unix.Stat(path, &there) == nil && there.Dev == st.Dev && there.Ino == st.Ino {
		r.Path = path
	}
	r.Offset, _ = unix.Seek(fd, 0, unix.SEEK_CUR)
	return r
}

var errLeadsOut = errors.New("it is a directory or disk of the host, through which the command could leave the world")

// leadsOut refuses descriptors that stand for a place on the host instead of something to read or write: from them
// openat(2) goes to any file, whatever is mounted in the world.
func leadsOut(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFDIR || kind == unix.S_IFBLK || flags&unix.O_PATH != 0 {
		return errLeadsOut
	}
	return nil
}

// defaultPath is searched if the command's environment has no PATH.
//
// Source: Linux execvp(3), "if this variable isn't defined".
const defaultPath = "/bin:/usr/bin"

// candidates are the files that execvp(3) would try for the command, in its order.
func candidates(c *Command) []string {
	if strings.Contains(c.Path, "/") {
		return []string{c.Path}
	}
	path := defaultPath
	for _, v := range c.Env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
			break
		}
	}
	var out []string
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		if file := dir + "/" + c.Path; c.Path != "" && !missing(file) {
			out = append(out, file)
		}
	}
	return out
}

// missing says whether a world that has just begun cannot have the file, because the host has it not. To find that out
// there, where names are remembered, is much cheaper than inside, where every name is new.
func missing(file string) bool {
	for _, dir := range view.MadeNew {
		if strings.HasPrefix(file, dir+"/") {
			return false
		}
	}
	var st unix.Stat_t
	return strings.HasPrefix(file, "/") && errors.Is(unix.Stat(file, &st), unix.ENOENT)
}

// setupFailure is an error of the set-up: the command has not run.
type setupFailure struct {
	err    error
	ofView bool // another strategy may do better
}

func (f *setupFailure) Error() string { return f.err.Error() }
func (f *setupFailure) Unwrap() error { return f.err }

// viewSteps are the steps without which a world has no file view.
var viewSteps = []string{"clone", "userns", "mntns", "upper", "overlay", "fuse", "copy-diff", "pivot_root", "proc", "sys", "dev", "run"}

// setupError explains why a step of the set-up failed.
func (w *World) setupError(step string, err error) error {
	if dir, ok := strings.CutPrefix(step, "chdir "); ok {
		return &setupFailure{err: fmt.Errorf("enter the working directory %s in the world: %w", dir, err)}
	}
	w.observe(step, err.Error(), false)
	e := &probe.Error{What: "set up the world: " + step, Err: w.saidBy(err)}
	switch {
	case step == "clone" && !w.spec.Root, step == "userns":
		e.What = "make a user namespace"
		_, e.Remedy = probe.UsernsRefusal()
	case step == "clone":
		e.What = "make the namespaces of the world"
		e.Remedy = "run as root with CAP_SYS_ADMIN, or as an ordinary user where user namespaces are allowed"
	case errors.Is(err, syscall.ENODEV):
		e.Remedy = "modprobe " + step // overlay, or fuse
	case errors.Is(err, syscall.EPERM) && !w.spec.Root:
		_, e.Remedy = probe.UsernsRefusal()
	case errors.Is(err, syscall.EINVAL) && step == "overlay":
		e.Remedy = "see the kernel log: dmesg | tail; a file system that cannot be an upper is avoided with SUBSTRATE_OVERLAY_ROOT=DIR or --upper tmpfs"
	}
	// What a busy machine refuses now it may grant in a moment: no reason for less isolation.
	passing := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM)
	return &setupFailure{err: e, ofView: slices.Contains(viewSteps, step) && !passing}
}
