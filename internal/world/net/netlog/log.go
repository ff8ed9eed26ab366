package netlog

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Distinct keeps each attempt once, in the order of first appearance. Two attempts are the same if
// protocol, address and port are; the owner of the first is kept.
// The zero value is ready and holds up to [DefaultMax].
type Distinct struct {
	Max  int  // attempts to keep; 0 means DefaultMax
	More bool // others came after Max

	seen   map[Event]struct{}
	events []Event
}

// DefaultMax is how many attempts a [Distinct] keeps if nothing else is said.
const DefaultMax = 10000

// Add adds what is new in events.
func (d *Distinct) Add(events ...Event) {
	limit := d.Max
	if limit == 0 {
		limit = DefaultMax
	}
	for _, e := range events {
		key := e
		key.UID = 0
		if _, old := d.seen[key]; old {
			continue
		}
		if len(d.events) >= limit {
			d.More = true
			continue
		}
		if d.seen == nil {
			d.seen = make(map[Event]struct{})
		}
		d.seen[key] = struct{}{}
		d.events = append(d.events, e)
	}
}

// Events returns what was added.
func (d *Distinct) Events() []Event { return d.events }

// Log gathers the attempts that arrive on the socket of a world. Its methods may be called from several goroutines.
type Log struct {
	sock   *os.File
	closed atomic.Bool

	mu       sync.Mutex
	buf      []byte
	distinct Distinct
	lost     bool
	bad      int
}

// New returns a Log that reads from fd, a socket to which [Bind] was sent, also in another process. The Log
// owns fd from then on. New asks for a receive buffer of [ReceiveBuffer] bytes and takes what it gets.
func New(fd int) (*Log, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("ready the NFLOG socket: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, ReceiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, ReceiveBuffer) // a small one loses events, and says so
	}
	return &Log{sock: os.NewFile(uintptr(fd), "nflog"), buf: make([]byte, 8<<10)}, nil
}

// Run reads until [Log.Close] is called; it returns nil then. Without it a burst of attempts can outgrow the socket's
// buffer, which holds some hundreds.
func (l *Log) Run() error {
	rc, err := l.sock.SyscallConn()
	if err != nil {
		return fmt.Errorf("read NFLOG: %w", err)
	}
	var inner error
	err = rc.Read(func(fd uintptr) (done bool) {
		inner = l.drain(int(fd))
		return inner != nil
	})
	if inner != nil {
		return inner
	}
	if l.closed.Load() {
		return nil
	}
	return fmt.Errorf("wait for NFLOG: %w", err)
}

// Drain reads what waits on the socket now. The kernel queues an event before the attempt ends, so that
// after the end of a command Drain gets all that the command tried.
func (l *Log) Drain() error {
	rc, err := l.sock.SyscallConn()
	if err != nil {
		return fmt.Errorf("read NFLOG: %w", err)
	}
	var inner error
	err = rc.Control(func(fd uintptr) { inner = l.drain(int(fd)) })
	return errors.Join(err, inner)
}

func (l *Log) drain(fd int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		n, _, err := unix.Recvfrom(fd, l.buf, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch {
		case err == nil && n <= len(l.buf):
			events, err := Decode(l.buf[:n])
			l.distinct.Add(events...)
			if err != nil {
				l.bad++
			}
		case err == nil:
			l.bad++
		case errors.Is(err, syscall.EAGAIN):
			return nil
		case errors.Is(err, syscall.ENOBUFS):
			l.lost = true
		case errors.Is(err, syscall.EINTR):
		default:
			return fmt.Errorf("receive from NFLOG: %w", err)
		}
	}
}

// Events returns each distinct attempt so far, in the order of first appearance.
func (l *Log) Events() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Event(nil), l.distinct.Events()...)
}

// Lost reports whether attempts are missing from [Log.Events]: the socket's buffer was full, there were more than
// [DefaultMax], or a message could not be understood.
//
// Source: netlink(7), "Reliability": ENOBUFS.
func (l *Log) Lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost || l.distinct.More || l.bad > 0
}

// Close closes the socket, which frees its NFLOG group, and ends [Log.Run].
func (l *Log) Close() error {
	l.closed.Store(true)
	if err := l.sock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("close the NFLOG socket: %w", err)
	}
	return nil
}
