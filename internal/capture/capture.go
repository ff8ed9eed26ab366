// Package capture stands between a command and where it prints, passes every byte on as it is, and takes
// note of it.
//
// A [Tap] puts a pipe in the place of standard output and one in the place of standard error. When the
// command has ended, what it printed is hashed and its beginning kept. Processes that the command left in the
// background may hold the pipes open for as long as they like: a small process of its own, which
// [Drain] is, then goes on passing on what they print, so that they neither keep substrate waiting nor are
// killed by SIGPIPE. Where the result is kept is left to package record.
package capture

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"os"

	"golang.org/x/sys/unix"

	"substrate/internal/record"
)

const (
	bufferSize = 256 << 10
	pipeSize   = 1 << 20 // asked for; a user may get less
	firstFD    = 10      // from here on lie our own descriptors, as those of shells do
)

// Tap passes on and takes note of what one command prints.
type Tap struct {
	out, err *stream
}

// stream is one of the two.
type stream struct {
	fd     int // 1 or 2
	target int // where the bytes go: a copy of the descriptor that the command would have had; -1 for nowhere
	read   int // our end of the pipe; -1 once it is closed
	write  int // the command's end; -1 once it is closed
	wake   int // eventfd: the command has ended
	done   chan struct{}

	open  bool // what the command left behind still holds the pipe
	sum   hash.Hash
	bytes int64
	head  []byte
	keep  int64
	lost  error // why what was printed could not be passed on, other than that nobody wants it
}

// New makes the pipes for a command that would print to the files stdout and stderr, and begins to
// pass on. At most keep bytes of each are kept. A file that is nil is left alone.
func New(stdout, stderr *os.File, keep int64) (*Tap, error) {
	t := &Tap{}
	var err error
	if t.out, err = open(1, stdout, keep); err != nil {
		return nil, fmt.Errorf("capture standard output: %w", err)
	}
	if t.err, err = open(2, stderr, keep); err != nil {
		t.out.abandon()
		return nil, fmt.Errorf("capture standard error: %w", err)
	}
	for _, s := range t.streams() {
		go s.pass()
	}
	return t, nil
}

// streams are those that there are.
func (t *Tap) streams() []*stream {
	var all []*stream
	for _, s := range []*stream{t.out, t.err} {
		if s != nil {
			all = append(all, s)
		}
	}
	return all
}

// open makes the pipe of one stream; nil for a file that is nil.
func open(fd int, target *os.File, keep int64) (*stream, error) {
	if target == nil {
		return nil, nil
	}
	s := &stream{fd: fd, read: -1, write: -1, wake: -1, done: make(chan struct{}), sum: sha256.New(), keep: keep}
	var err error
	if s.target, err = unix.FcntlInt(target.Fd(), unix.F_DUPFD_CLOEXEC, firstFD); err != nil {
		return nil, err
	}
	if s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		s.abandon()
		return nil, err
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		s.abandon()
		return nil, err
	}
	s.read, s.write = pipe[0], pipe[1]
	_, _ = unix.FcntlInt(uintptr(s.read), unix.F_SETPIPE_SZ, pipeSize) // only for speed
	return s, nil
}

// abandon closes what open opened.
func (s *stream) abandon() {
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

// Around calls start while descriptors 1 and 2 of this process are the pipes, so that the program that it starts
// inherits them. Nothing else may print meanwhile.
func (t *Tap) Around(start func() error) error {
	defer func() {
		for _, s := range t.streams() {
			_ = unix.Dup3(s.target, s.fd, 0) // it was open before
			closeFD(&s.write)
		}
	}()
	for _, s := range t.streams() {
		if err := unix.Dup3(s.write, s.fd, 0); err != nil {
			return fmt.Errorf("put the pipe in the place of descriptor %d: %w", s.fd, err)
		}
	}
	return start()
}

// Files are the ends of the pipes that a command gets as standard output and standard error; nil for a
// stream that is left alone. They are closed by Finish.
func (t *Tap) Files() (stdout, stderr *os.File) {
	if t.out != nil {
		stdout = os.NewFile(uintptr(t.out.take()), "captured standard output")
	}
	if t.err != nil {
		stderr = os.NewFile(uintptr(t.err.take()), "captured standard error")
	}
	return stdout, stderr
}

// take gives the command's end away.
func (s *stream) take() int {
	fd := s.write
	s.write = -1
	return fd
}

// Finish takes note of what the command has printed; it has ended, and the caller has closed Files. If
// something still holds a pipe open a process of its own goes on passing on. The error says also that something could
// not be passed on, as to a full disk.
func (t *Tap) Finish() (stdout, stderr record.Output, err error) {
	for _, s := range t.streams() {
		closeFD(&s.write)
		one := [8]byte{0: 1, 7: 1} // not zero in either byte order
		_, _ = unix.Write(s.wake, one[:])
	}
	for _, s := range t.streams() {
		<-s.done
	}
	err = t.handOver()
	for _, s := range t.streams() {
		if s.lost != nil {
			err = fmt.Errorf("pass on what was printed to descriptor %d: %w", s.fd, s.lost)
		}
		s.abandon()
	}
	return t.out.output(), t.err.output(), err
}

// output is what is known of a stream; of one that was left alone, that nothing was printed.
func (s *stream) output() record.Output {
	if s == nil {
		s = &stream{sum: sha256.New()}
	}
	return record.Output{
		SHA256: hex.EncodeToString(s.sum.Sum(nil)), Bytes: s.bytes, Head: s.head, Truncated: s.bytes > int64(len(s.head)),
	}
}

// pass passes on until the pipe is closed, or until the command has ended and what it printed until then has
// been passed on.
func (s *stream) pass() {
	defer close(s.done)
	buf := make([]byte, bufferSize)
	for {
		fds := []unix.PollFd{{Fd: int32(s.read), Events: unix.POLLIN}, {Fd: int32(s.wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if fds[1].Revents != 0 {
			s.open = s.rest(buf)
			return
		}
		if fds[0].Revents != 0 && s.step(buf) == 0 {
			return
		}
	}
}

// rest passes on what is in the pipe now, and not what is added meanwhile: something in the background may
// print for ever. It says whether the pipe is open still.
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
		case s.step(buf) == 0: // nobody holds it any more: what is left has an end
			return false
		}
	}
}

// step reads once and passes that on; 0 means that the pipe is at its end, or that nobody wants more. Then it is closed, so
// that the command learns of it in the usual way, by SIGPIPE.
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
		if !errors.Is(err, unix.EPIPE) { // the command cannot learn why
			s.lost = err
		}
		closeFD(&s.read)
		return 0
	}
	return n
}

// writeAll writes b to fd, also if somebody made that non-blocking. It goes past os.File, which would end the
// program by SIGPIPE if nobody reads standard output any more.
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
