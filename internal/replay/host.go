package replay

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/inherited"
	"substrate/internal/world"
)

// defaultGrace is the time between SIGTERM and SIGKILL if the command names none.
const defaultGrace = 2 * time.Second

// Forwarded are the signals that reach the command when they are sent to us (RPL10). Each costs two switches
// between threads to ask the runtime for, so there are no more than people send to end something.
var Forwarded = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
}

// RunHost runs a command on the host, without isolation, in a process group of its
// own that gets the terminal if we have it. The process becomes the subreaper of
// what the command leaves behind, so that signals and the timeout reach every
// descendant. The result has no diff and no network events.
//
// The command gets descriptors 0, 1 and 2 and nothing else (RPL4). A command that
// cannot be started is no error: ExecErr says why, and Exit is 126 or 127.
// RunHost changes process-wide state (umask, close-on-exec flags) and takes every child
// of the process for a part of the command, so a process runs one at a time and has
// no children of its own meanwhile.
//
// Source: PR_SET_CHILD_SUBREAPER(2const); close_range(2); setpgid(2); tcsetpgrp(3).
func RunHost(c world.Command) (*world.Result, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become the subreaper: %w", err)
	}
	res := &world.Result{Started: time.Now()}
	path, err := lookPath(c)
	if err != nil {
		res.ExecErr, res.Exit = err, execStatus(err)
		return res, nil
	}
	sigs := make(chan os.Signal, 8)
	for _, s := range Forwarded {
		if !signal.Ignored(s) && !inherited.IsIgnored(s.(syscall.Signal)) { // what nohup ignores stays ignored
			signal.Notify(sigs, s)
		}
	}
	defer signal.Stop(sigs)
	term := openTerminal()
	defer term.close()

	res.Started = time.Now()
	pid, err := start(path, c)
	if err != nil {
		res.ExecErr, res.Exit = err, execStatus(err)
		return res, nil
	}
	term.give(pid)
	return res, supervise(pid, c, sigs, term, res)
}

// start executes the command with exactly three descriptors and its own umask.
func start(path string, c world.Command) (int, error) {
	files, closeFiles, err := streams(c)
	if err != nil {
		return 0, err
	}
	defer closeFiles()
	// Ours are close-on-exec already; this is for what we inherited.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		if err := closeOnExecOneByOne(); err != nil {
			return 0, err
		}
	}
	old := unix.Umask(c.Umask)
	defer unix.Umask(old)
	return syscall.ForkExec(path, c.Argv, &syscall.ProcAttr{
		Dir:   c.Dir,
		Env:   c.Env,
		Files: files,
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
}

// streams returns descriptors 0, 1 and 2 of the command.
func streams(c world.Command) ([]uintptr, func(), error) {
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

// closeOnExecOneByOne is close_range for kernels before 5.11 and filters that refuse it.
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
func supervise(pid int, c world.Command, sigs <-chan os.Signal, term *terminal, res *world.Result) error {
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
			term.take()
			if e.err != nil {
				return fmt.Errorf("wait for the command: %w", e.err)
			}
			finish(e.status, e.usage, res)
			if res.TimedOut {
				res.Exit = 124
				endDescendants(pid)
			}
			return nil
		}
	}
}

// wait returns when the command itself has ended. Orphans that we adopted are reaped
// on the way. When the terminal stops the command we stop with it, as a shell expects
// of its child.
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
func finish(status syscall.WaitStatus, usage syscall.Rusage, res *world.Result) {
	res.Exit = status.ExitStatus()
	if status.Signaled() {
		res.Signal = int(status.Signal())
		res.Exit = 128 + res.Signal
	}
	res.Usage.User = time.Duration(usage.Utime.Nano())
	res.Usage.System = time.Duration(usage.Stime.Nano())
	res.Usage.MaxRSS = usage.Maxrss * 1024 // the kernel counts KiB: getrusage(2)
}

// lookPath finds the program of a command on the command's own PATH.
func lookPath(c world.Command) (string, error) {
	if strings.Contains(c.Path, "/") {
		return c.Path, nil
	}
	refused := error(nil)
	for _, dir := range filepath.SplitList(toMap(c.Env)["PATH"]) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(c.Dir, dir)
		}
		path := filepath.Join(dir, c.Path)
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			continue
		}
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
		refused = &exec.Error{Name: c.Path, Err: fs.ErrPermission}
	}
	if refused != nil {
		return "", refused
	}
	return "", &exec.Error{Name: c.Path, Err: exec.ErrNotFound}
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
