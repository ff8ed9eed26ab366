// Package capture copies what a command prints, hashes it and keeps its beginning.
//
// A [Tap] replaces standard output and standard error by pipes and passes on every byte unchanged.
// Processes that the command left in the background may hold the pipes open for as long as they
// like. A small process of its own, which runs [Drain], then passes on what they print: substrate
// does not wait for them, and SIGPIPE does not kill them. Package record stores the result.
package capture

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"

	"golang.org/x/sys/unix"

	"substrate/internal/procstate"
	"substrate/internal/record"
)

const (
	bufferSize = 256 << 10
	pipeSize   = 1 << 20 // asked for; a user may get less
	firstFD    = 10      // of our own descriptors, as in shells
)

// Tap captures what one command prints.
type Tap struct {
	out, err *stream // nil for a stream that is not captured
}

// stream captures one of the two.
type stream struct {
	fd     int       // 1 or 2
	target int       // where the bytes go: a copy of the descriptor that the command would have had
	read   int       // our end of the pipe; -1 once it is closed
	write  int       // the command's end; -1 once it is closed
	wake   int       // eventfd: the command has ended
	done   chan bool // gets one value from pass

	open  bool // a process that the command left behind still holds the pipe
	sum   hash.Hash
	bytes int64
	head  []byte
	keep  int64
	lost  error // why a write to target failed, except with EPIPE
}

// New makes the pipes for a command that would print to the files stdout and stderr, and starts to
// pass on what arrives. It keeps at most keep bytes of each. It does not capture a file that is
// nil, or whose descriptor was closed when this process started.
func New(stdout, stderr *os.File, keep int64) (*Tap, error) {
	t := &Tap{}
	var err error
	if t.out, err = open(1, stdout, keep); err != nil {
		return nil, fmt.Errorf("capture standard output: %w", err)
	}
	if t.err, err = open(2, stderr, keep); err != nil {
		abandon(t.out)
		return nil, fmt.Errorf("capture standard error: %w", err)
	}
	for _, s := range t.streams() {
		go func() { s.done <- s.pass() }()
	}
	return t, nil
}

// streams returns those that are captured.
func (t *Tap) streams() []*stream {
	var all []*stream
	for _, s := range []*stream{t.out, t.err} {
		if s != nil {
			all = append(all, s)
		}
	}
	return all
}

// open makes the pipe of one stream; nil for one that is not captured.
func open(fd int, target *os.File, keep int64) (*stream, error) {
	if target == nil || procstate.Closed(fd) {
		return nil, nil
	}
	s := &stream{fd: fd, read: -1, write: -1, wake: -1, done: make(chan bool, 1), sum: sha256.New(), keep: keep}
	var err error
	if s.target, err = unix.FcntlInt(target.Fd(), unix.F_DUPFD_CLOEXEC, firstFD); err != nil {
		return nil, err
	}
	if s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		abandon(s)
		return nil, err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		abandon(s)
		return nil, err
	}
	s.read, s.write = pipe[0], pipe[1]
	_, _ = unix.FcntlInt(uintptr(s.read), unix.F_SETPIPE_SZ, pipeSize) // only for speed
	return s, nil
}

// abandon closes what open opened; s may be nil.
func abandon(s *stream) {
	if s == nil {
		return
	}
	for _, fd := range []*int{&s.target, &s.read, &s.write, &s.wake} {
		closeFD(fd)
	}
}

// closeFD closes a descriptor once.
func closeFD(fd *int) {
	if *fd >= 0 {
		_ = unix.Close(*fd) // nothing is buffered in it
		*fd = -1
	}
}

// Around calls start while descriptors 1 and 2 of this process are the pipes, so the program that
// start starts inherits them. Nothing else may print meanwhile.
func (t *Tap) Around(start func() error) error {
	defer func() {
		for _, s := range t.streams() {
			_ = unix.Dup3(s.target, s.fd, 0) // it was open before
			closeFD(&s.write)
		}
	}()
	for _, s := range t.streams() {
		if err := unix.Dup3(s.write, s.fd, 0); err != nil {
			return fmt.Errorf("replace descriptor %d by a pipe: %w", s.fd, err)
		}
	}
	return start()
}

// Files returns the ends of the pipes that a command gets as standard output and standard error;
// nil for a stream that is not captured. The caller closes them before Finish.
func (t *Tap) Files() (stdout, stderr *os.File) {
	if t.out != nil {
		stdout = os.NewFile(uintptr(t.out.take()), "captured standard output")
	}
	if t.err != nil {
		stderr = os.NewFile(uintptr(t.err.take()), "captured standard error")
	}
	return stdout, stderr
}

// take returns the command's end, which the caller then owns.
func (s *stream) take() int {
	fd := s.write
	s.write = -1
	return fd
}

// Finish returns what the command printed, after the command has ended and the caller has closed
// Files. If a process still holds a pipe open, Finish starts one that runs [Drain]. The error also
// reports output that could not be passed on, for example to a full disk.
func (t *Tap) Finish() (stdout, stderr record.Output, err error) {
	for _, s := range t.streams() {
		closeFD(&s.write)
		one := [8]byte{0: 1, 7: 1} // not zero in either byte order
		_, _ = unix.Write(s.wake, one[:])
	}
	for _, s := range t.streams() {
		s.open = <-s.done
	}
	err = t.handOver()
	for _, s := range t.streams() {
		if s.lost != nil {
			err = fmt.Errorf("pass on the output of descriptor %d: %w", s.fd, s.lost)
		}
		abandon(s)
	}
	return t.out.output(), t.err.output(), err
}

// output describes what was printed to a stream: nothing to one that was not captured.
func (s *stream) output() record.Output {
	if s == nil {
		s = &stream{sum: sha256.New()}
	}
	return record.Output{
		SHA256: hex.EncodeToString(s.sum.Sum(nil)), Bytes: s.bytes, Head: s.head, Truncated: s.bytes > int64(len(s.head)),
	}
}

// pass passes on bytes until the pipe is closed, or until the command has ended and everything that
// it printed is passed on. It reports whether the pipe is still open.
func (s *stream) pass() (open bool) {
	buf := make([]byte, bufferSize)
	for {
		fds := []unix.PollFd{{Fd: int32(s.read), Events: unix.POLLIN}, {Fd: int32(s.wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
		if fds[1].Revents != 0 {
			return s.rest(buf)
		}
		if fds[0].Revents != 0 && s.step(buf) == 0 {
			return false
		}
	}
}

// rest passes on what is in the pipe now, but not what is added meanwhile: a process in the
// background may print for ever. It reports whether the pipe is still open.
func (s *stream) rest(buf []byte) bool {
	left, err := unix.IoctlGetInt(s.read, unix.TIOCINQ)
	if err != nil {
		return false
	}
	for left > 0 {
		n := s.step(buf[:min(left, len(buf))])
		if n == 0 {
			return false
		}
		left -= n
	}
	fds := []unix.PollFd{{Fd: int32(s.read), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, 0)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || fds[0].Revents&unix.POLLHUP == 0:
			return err == nil
		case s.step(buf) == 0: // nobody holds the pipe any more: read it to its end
			return false
		}
	}
}

// step reads once and passes that on. It returns 0 at the end of the pipe and if the target takes
// no more. It has then closed the pipe, so that the command gets SIGPIPE as usual.
func (s *stream) step(buf []byte) int {
	n, err := unix.Read(s.read, buf)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(s.read, buf)
	}
	if err != nil || n <= 0 {
		closeFD(&s.read)
		return 0
	}
	s.sum.Write(buf[:n])
	s.bytes += int64(n)
	if room := s.keep - int64(len(s.head)); room > 0 {
		s.head = append(s.head, buf[:min(int64(n), room)]...)
	}
	if err := writeAll(s.target, buf[:n]); err != nil {
		if !errors.Is(err, unix.EPIPE) { // SIGPIPE does not show the command why
			s.lost = err
		}
		closeFD(&s.read)
		return 0
	}
	return n
}

// writeAll writes b to fd, also if fd is non-blocking. It does not use os.File, which would end the
// program with SIGPIPE if nobody reads standard output any more.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		case err != nil:
			return err
		default:
			b = b[n:]
		}
	}
	return nil
}
