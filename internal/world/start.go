package world

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"substrate/internal/environ"
	"substrate/internal/probe"
	"substrate/internal/procstate"
	"substrate/internal/world/boot"
	"substrate/internal/world/view"
)

// child is the init process of a world, and through it all others.
type child struct {
	*boot.Process
	inGroup bool // it is in the cgroup too, not only the command
}

// startInit starts the init process if there is none. It makes its own network namespace.
func (w *World) startInit() error {
	if w.signals.proc != nil {
		return nil
	}
	proc, err := boot.Start(!w.spec.Root)
	if err != nil {
		return err
	}
	w.signals.start(proc)
	crashpoint("started", "")
	return nil
}

// configureInit gives the init process everything but the file view, unless it has it already. A
// world without a cgroup works; that is a degradation.
func (w *World) configureInit() error {
	if w.attempt.init != nil {
		return nil
	}
	init := &child{Process: w.signals.proc}
	w.attempt.init = init
	base := &boot.Base{UID: os.Geteuid(), GID: os.Getegid(), Group: -1, Verbose: w.spec.Observe != nil}
	switch {
	case w.noDivide != nil:
		w.enterScope(init.PID())
		init.inGroup = w.group != nil
	case w.group == nil:
	case init.NeedsGroup():
		if err := w.group.Add(init.PID()); err != nil {
			w.report.noGroup(w.spec.Limits, err)
		} else {
			init.inGroup = true
		}
	default:
		base.Group = w.group.FD()
	}
	if init.inGroup {
		reservePIDForInit(w.spec.Limits, w.group)
	}
	if w.group != nil {
		w.report.step("cgroup", "ok", true)
	}
	// A supervisor that is killed leaves an init process that is about to die. Until it has died,
	// the world must not be taken for a leftover: the process may be in the middle of a mount.
	for _, fd := range []int{w.objects.lock, w.objects.upperFD, w.objects.slot} {
		if fd >= 0 {
			base.Keep = append(base.Keep, fd)
		}
	}
	var err error
	if base.Network, err = networkOf(w.Name); err != nil {
		return err
	}
	err = init.Configure(base)
	crashpoint("process", "")
	return err
}

// endInit kills all processes of the world and waits for them, unless the command has ended.
func (w *World) endInit() error { return reap(w.signals.end(w.spec.Signals)) }

// dropInit ends an init process that will not get the command.
func (w *World) dropInit() error {
	err := w.endInit()
	w.attempt.init = nil
	if w.noDivide != nil && w.group != nil { // systemd's, which went with its process
		err = errors.Join(err, w.group.Close())
		w.group = nil
	}
	return err
}

// awaitInit waits for the end of an init process that ends by itself.
func (w *World) awaitInit() error {
	p := w.leaving
	w.leaving = nil
	return reap(p)
}

// reap kills p, which may be nil, and waits for its end.
func reap(p *boot.Process) error {
	if p == nil {
		return nil
	}
	return p.Reap()
}

// start gives the init process its file view and the command.
func (r *run) start() error {
	w := r.w
	if err := w.startInit(); err != nil {
		return w.setupFailed("clone", err)
	}
	if err := w.configureInit(); err != nil {
		return err
	}
	r.proc = w.attempt.init.Process
	command, err := r.command()
	if err != nil {
		return err
	}
	mounts := w.attempt.view.Mounts()
	return r.proc.Execute(&boot.Setup{
		Staging: w.shared.Staging, Mounts: mounts.List, Memory: mounts.Memory, Command: command, Verbose: w.spec.Observe != nil,
	})
}

// command turns the Command into descriptors and strings.
func (r *run) command() (boot.Command, error) {
	c := r.cmd
	out := boot.Command{
		Paths: programs(c), Argv: c.Argv, Env: c.Env, Dir: c.Dir, Umask: c.Umask,
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

// reopen returns how the world opens a file that is standard input once more inside, or nil if fd
// is no file that could be written that way. A descriptor of the host that is opened anew by
// /dev/stdin or /proc/self/fd/0 leads to the host's file.
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

// leadsOut refuses descriptors that stand for a place on the host instead of something to read or
// write: from them openat(2) reaches any file, whatever is mounted in the world.
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

// programs are the files that execvp(3) would try for the command, in its order.
func programs(c *Command) []string {
	if strings.Contains(c.Path, "/") {
		return []string{c.Path}
	}
	path, set := environ.List(c.Env).Lookup("PATH")
	switch {
	case !set:
		path = defaultPath
	case path == "":
		path = "." // execvp(3) takes it for one empty entry
	}
	var out []string
	for file := range environ.Candidates(path, c.Path) {
		if c.Path != "" && !missing(file) {
			out = append(out, file)
		}
	}
	return out
}

// missing reports whether a new world cannot have the file because the host does not have it. That
// is much cheaper to find out on the host, where the kernel caches names, than inside, where every
// name is new.
func missing(file string) bool {
	for _, dir := range view.MadeNew {
		if strings.HasPrefix(file, dir+"/") {
			return false
		}
	}
	var st unix.Stat_t
	return strings.HasPrefix(file, "/") && errors.Is(unix.Stat(file, &st), unix.ENOENT)
}

// setupError is an error of the set-up: the command has not run.
type setupError struct {
	err    error
	ofView bool // another strategy may do better
}

func (e *setupError) Error() string { return e.err.Error() }
func (e *setupError) Unwrap() error { return e.err }

// setupFailed explains why a step of the set-up failed.
func (w *World) setupFailed(step string, err error) error {
	if dir, ok := strings.CutPrefix(step, "chdir "); ok {
		return &setupError{err: fmt.Errorf("enter the working directory %s in the world: %w", dir, err)}
	}
	w.report.step(step, err.Error(), false)
	e := &probe.Error{What: "set up the world: " + step, Err: withServerError(w.attempt.view, err)}
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
		e.Remedy = "see the kernel log (dmesg | tail); if a file system cannot hold an upper, choose another with SUBSTRATE_OVERLAY_ROOT=DIR or --upper tmpfs"
	}
	// A busy machine may grant in a moment what it refuses now. That is no reason for less
	// isolation.
	passing := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM)
	return &setupError{err: e, ofView: slices.Contains(viewSteps, step) && !passing}
}

// viewSteps are the steps without which a world has no file view.
var viewSteps = []string{"clone", "userns", "mntns", "upper", "overlay", "fuse", "copy-diff", "pivot_root", "proc", "sys", "dev", "run"}
