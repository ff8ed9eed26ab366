package capture

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// DrainName is the argv[0] with which this program runs [Drain]. No user can type it as a command
// by chance.
const DrainName = "substrate: passes on what was left in the background"

// pairs are the descriptors of the process that drains: pipes, and where their bytes go.
var pairs = [2][2]int{{0, 1}, {3, 2}}

// handOver starts a process that runs [Drain] if a pipe is still open. It is this program once
// more, in a session of its own, so that Ctrl-C does not end it.
func (t *Tap) handOver() error {
	none := ^uintptr(0)
	files := []uintptr{none, none, none, none}
	needed := false
	for i, s := range []*stream{t.out, t.err} {
		if s != nil && s.open {
			files[pairs[i][0]], files[pairs[i][1]] = uintptr(s.read), uintptr(s.target)
			needed = true
		}
	}
	if !needed {
		return nil
	}
	attr := &syscall.ProcAttr{Dir: "/", Env: []string{"GOMAXPROCS=1"}, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
	_, err := syscall.ForkExec("/proc/self/exe", []string{DrainName}, attr)
	if err != nil {
		if self, selfErr := os.Executable(); selfErr == nil {
			_, err = syscall.ForkExec(self, []string{DrainName}, attr)
		}
	}
	if err != nil {
		return fmt.Errorf("pass on the output of background processes: %w", err)
	}
	return nil
}

// Drain passes on what comes through the pipes that a [Tap] handed over, until the last process
// that holds one has ended or nobody reads any more. Its process does nothing else.
func Drain() int {
	signal.Ignore(unix.SIGPIPE, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM)
	_ = unix.CloseRange(4, math.MaxUint32, 0) // what the command's caller left open is not ours to hold
	var all sync.WaitGroup
	for _, p := range pairs {
		if _, err := unix.FcntlInt(uintptr(p[0]), unix.F_GETFD, 0); err != nil {
			continue
		}
		all.Go(func() { move(p[0], p[1]) })
	}
	all.Wait()
	return 0
}

// move copies from one descriptor to another until one of them ends, and closes both.
func move(from, to int) {
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(from, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n <= 0 || writeAll(to, buf[:n]) != nil {
			break
		}
	}
	_ = unix.Close(from)
	_ = unix.Close(to)
}
