package netnstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/world/net/netlink"
	"substrate/internal/world/net/netlog"
)

// ErrNoAnswer means that the kernel took a batch but did not acknowledge it.
// The kernel skips what it cannot parse without an error.
var ErrNoAnswer = errors.New("no acknowledgement from the kernel")

// Open returns a netlink socket of the family proto (unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER) in
// the caller's network namespace.
func Open(proto int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, fmt.Errorf("open a netlink socket: %w", err)
	}
	return fd, nil
}

// Send sends batch to the kernel on the netlink socket fd and checks the answers. The last request
// of the batch must have [netlink.Ack], whose comment explains the rules. The error is the first
// errno ([syscall.Errno]) that the kernel gave to a message of the batch, or [ErrNoAnswer].
func Send(fd int, batch []byte) error {
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(fd, batch, unix.MSG_NOSIGNAL, to); err != nil {
		return fmt.Errorf("send a netlink batch: %w", err)
	}
	var want uint32 // the sequence number of the last message that asks for an acknowledgement
	for h := range netlink.Messages(batch) {
		if h.Flags&netlink.Ack != 0 {
			want = h.Seq
		}
	}
	got := false
	var first error
	buf := make([]byte, 8192)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return fmt.Errorf("receive the kernel's answers: %w", err)
		}
		for h, body := range netlink.Messages(buf[:n]) {
			if h.Type != netlink.TypeError || len(body) < 4 {
				continue
			}
			errno := -int32(binary.NativeEndian.Uint32(body))
			if errno != 0 && first == nil {
				first = fmt.Errorf("netlink message %d: %w", h.Seq, syscall.Errno(errno))
			}
			got = got || want != 0 && h.Seq == want
		}
	}
	if first == nil && !got {
		first = ErrNoAnswer
	}
	return first
}

// Attempts reads the blocked attempts that wait on fd, a socket to which [netlog.Bind] was sent,
// into seen. Lost reports whether the kernel dropped some because the buffer of the socket was
// full.
//
// Source: netlink(7), "Reliability": ENOBUFS.
func Attempts(t testing.TB, fd int, seen *netlog.Distinct) (lost bool) {
	t.Helper()
	buf := make([]byte, 8<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			events, err := netlog.Decode(buf[:n])
			if err != nil {
				t.Errorf("a message of NFLOG: %v", err)
			}
			seen.Add(events...)
		case errors.Is(err, syscall.EAGAIN):
			return lost
		case errors.Is(err, syscall.ENOBUFS):
			lost = true
		case !errors.Is(err, syscall.EINTR):
			t.Fatalf("receive from NFLOG: %v", err)
		}
	}
}
