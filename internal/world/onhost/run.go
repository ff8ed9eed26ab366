// Package onhost runs a command on the host, without namespaces.
//
// Without a pid namespace nothing holds the processes of a command together. So the command gets a
// process group of its own, and the terminal if there is one; the calling process becomes the
// subreaper of what the command leaves behind; and signals and timeouts go to the group and to
// every descendant (RPL10). What the command may see or change is restricted only by the caller's
// [Command.Confine].
package onhost

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/environ"
	"substrate/internal/procstate"
)

// defaultGrace is the time between SIGTERM and SIGKILL if the command names none.
const defaultGrace = 2 * time.Second

// Forwarded are the signals that reach the command when they are sent to us (RPL10). To ask the
// runtime for one costs two switches between threads, so the list has only those that people send
// to end something.
var Forwarded = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
}

// Command is what to run.
type Command struct {
	Path    string   // program: with a slash a path, without one it is looked for on the PATH of Env
	Argv    []string // argv, the zeroth included
	Dir     string   // working directory
	Env     []string
	Umask   int
	Stdin   *os.File // nil for /dev/null
	Stdout  *os.File // nil for /dev/null
	Stderr  *os.File
	Timeout time.Duration    // 0 for none: SIGTERM to all descendants, after Grace SIGKILL
	Grace   time.Duration    // 0 means 2 s
	Signals <-chan os.Signal // those of Forwarded, caught by the caller; nil to catch them here
	EndAll  bool             // kill what is left of the descendants when the command has ended

	Cgroup  int          // descriptor of the cgroup that the command starts in, if InGroup
	InGroup bool         // without clone3(2) the command gets there a moment after its start
	Confine func() error // restricts the thread that calls it and then forks the command; nil for nothing
}

// Ended is how a command ended.
type Ended struct {
	Exit         int   // 128+n if signal n killed it, 124 on timeout, 126 or 127 if it could not be started
	Signal       int   // that killed it, 0 for none
	ExecErr      error // why it could not be started
	Outside      error // why it ran outside of its cgroup; nil if it did not
	TimedOut     bool
	Started      time.Time
	Duration     time.Duration
	User, System time.Duration
	MaxRSS       int64 // bytes, of the largest process
}

// Run runs a command in a process group of its own that gets the terminal if we have it. The
// calling process becomes the subreaper of what the command leaves behind, so that signals and the
// timeout reach every descendant.
//
// The command gets descriptors 0, 1 and 2 and nothing else (RPL4). If it cannot be started, that is
// no error: ExecErr says why, and Exit is 126 or 127. Run changes process-wide state (umask,
// close-on-exec flags) and treats every child of the process as part of the command. So a process
// runs one command at a time and has no other children meanwhile.
//
// Source: PR_SET_CHILD_SUBREAPER(2const); close_range(2); setpgid(2); tcsetpgrp(3).
func Run(c Command) (*Ended, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the subreaper: %w", err)
	}
	res := &Ended{Started: time.Now()}
	path, err := lookPath(&c)
	if err != nil {
		res.ExecErr, res.Exit = err, execStatus(err)
		return res, nil
	}
	sigs := c.Signals
	if sigs == nil {
		own := catch()
		defer signal.Stop(own)
		sigs = own
	}
	term := openTerminal()
	defer func() { _ = term.close() }()

	res.Started = time.Now()
	pid, outside, err := start(path, &c)
	if err != nil {
		var mine *confineError
		if errors.As(err, &mine) {
			return nil, err
		}
		res.ExecErr, res.Exit = err, execStatus(err)
		return res, nil
	}
	res.Outside = outside
	term.give(pid)
	return res, supervise(pid, &c, sigs, term, res)
}

// catch begins to catch the signals of Forwarded.
func catch() chan os.Signal {
	sigs := make(chan os.Signal, 8)
	for _, s := range Forwarded {
		if !signal.Ignored(s) && !procstate.IsIgnored(s.(syscall.Signal)) { // what nohup ignores stays ignored
			signal.Notify(sigs, s)
		}
	}
	return sigs
}

// start executes the command with exactly three descriptors and its own umask. outside is the
// reason why it is not in its cgroup.
func start(path string, c *Command) (pid int, outside, err error) {
	files, closeFiles, err := streams(c)
	if err != nil {
		return 0, nil, err
	}
	defer closeFiles()
	// Our own descriptors are close-on-exec already; this is for inherited ones.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		if err := closeOnExecOneByOne(); err != nil {
			return 0, nil, err
		}
	}
	old := unix.Umask(c.Umask)
	defer unix.Umask(old)
	attr := &syscall.ProcAttr{Dir: c.Dir, Env: c.Env, Files: files, Sys: &syscall.SysProcAttr{Setpgid: true}}
	if c.InGroup {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, c.Cgroup
	}
	pid, err = fork(path, c, attr)
	if c.InGroup && errors.Is(err, syscall.ENOSYS) {
		attr.Sys.UseCgroupFD = false
		if pid, err = fork(path, c, attr); err == nil {
			outside = enter(c.Cgroup, pid)
		}
	}
	return pid, outside, err
}

// confineError says that the command would have run with fewer restrictions than the caller wants.
type confineError struct{ err error }

func (e *confineError) Error() string { return "restrict the command: " + e.err.Error() }
func (e *confineError) Unwrap() error { return e.err }

// fork executes the command, from a thread of its own if that has to be restricted before.
func fork(path string, c *Command, attr *syscall.ProcAttr) (pid int, err error) {
	if c.Confine == nil {
		return syscall.ForkExec(path, c.Argv, attr)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and its restrictions with it
		if err = c.Confine(); err != nil {
			err = &confineError{err}
			return
		}
		pid, err = syscall.ForkExec(path, c.Argv, attr)
	}()
	<-done
	return pid, err
}

// streams returns descriptors 0, 1 and 2 of the command.
func streams(c *Command) ([]uintptr, func(), error) {
	var null *os.File
	fds := make([]uintptr, 0, 3)
	for _, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if f == nil {
			if null == nil {
				var err error
				if null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
					return nil, nil, fmt.Errorf("open the null device: %w", err)
				}
			}
			f = null
		}
		fds = append(fds, f.Fd())
	}
	return fds, func() {
		if null != nil {
			null.Close()
		}
	}, nil
}

// closeOnExecOneByOne replaces close_range where the kernel is older than 5.11 or a filter refuses
// it.
func closeOnExecOneByOne() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list open descriptors: %w", err)
	}
	for _, e := range entries {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// supervise waits for the command, passes signals on and enforces the timeout.
func supervise(pid int, c *Command, sigs <-chan os.Signal, term *terminal, res *Ended) error {
	type ending struct {
		status syscall.WaitStatus
		usage  syscall.Rusage
		err    error
	}
	done := make(chan ending, 1)
	go func() {
		var e ending
		e.status, e.usage, e.err = wait(pid, term)
		done <- e
	}()
	var timeout, kill <-chan time.Time
	if c.Timeout > 0 {
		timeout = time.After(c.Timeout)
	}
	for {
		select {
		case s := <-sigs:
			signalAll(pid, s.(syscall.Signal))
		case <-timeout:
			res.TimedOut = true
			grace := c.Grace
			if grace == 0 {
				grace = defaultGrace
			}
			kill = time.After(grace)
			signalAll(pid, syscall.SIGTERM)
			signalAll(pid, syscall.SIGCONT) // a stopped process would not notice
		case <-kill:
			signalAll(pid, syscall.SIGKILL)
		case e := <-done:
			res.Duration = time.Since(res.Started)
			_ = term.take()
			if e.err != nil {
				return fmt.Errorf("wait for the command: %w", e.err)
			}
			finish(e.status, e.usage, res)
			if res.TimedOut {
				res.Exit = 124
			}
			if res.TimedOut || c.EndAll {
				endDescendants(pid)
			}
			return nil
		}
	}
}

// wait returns when the command itself has ended. It also reaps orphans that we adopted. When the
// terminal stops the command we stop with it, as a shell expects of its child.
func wait(pid int, term *terminal) (syscall.WaitStatus, syscall.Rusage, error) {
	for {
		var status syscall.WaitStatus
		var usage syscall.Rusage
		got, err := syscall.Wait4(-1, &status, syscall.WUNTRACED, &usage)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return status, usage, err
		case got == pid && status.Stopped():
			term.stopWith(pid)
		case got == pid:
			return status, usage, nil
		}
	}
}

// finish fills in exit status and usage (REC4).
func finish(status syscall.WaitStatus, usage syscall.Rusage, res *Ended) {
	res.Exit = status.ExitStatus()
	if status.Signaled() {
		res.Signal = int(status.Signal())
		res.Exit = 128 + res.Signal
	}
	res.User = time.Duration(usage.Utime.Nano())
	res.System = time.Duration(usage.Stime.Nano())
	res.MaxRSS = usage.Maxrss * 1024 // the kernel counts KiB: getrusage(2)
}

// lookPath finds the program of a command on the command's own PATH.
func lookPath(c *Command) (string, error) {
	if strings.Contains(c.Path, "/") {
		return c.Path, nil
	}
	err := exec.ErrNotFound
	for path := range environ.Candidates(environ.List(c.Env).Get("PATH"), c.Path) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(c.Dir, path)
		}
		path = filepath.Clean(path)
		if info, statErr := os.Stat(path); statErr != nil || info.IsDir() {
			continue
		}
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
		err = fs.ErrPermission
	}
	return "", &exec.Error{Name: c.Path, Err: err}
}

// execStatus gives the status of a command that could not be started.
//
// Source: POSIX.1-2017 XCU, 2.8.2: 127 not found, 126 found but not executable.
func execStatus(err error) int {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) || errors.Is(err, syscall.ENOTDIR) {
		return 127
	}
	return 126
}
