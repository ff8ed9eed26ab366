package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNoAnswer says that the kernel took a batch but did not acknowledge it: what it
// cannot parse it passes over in silence.
var ErrNoAnswer = errors.New("no acknowledgement from the kernel")

// Open returns a netlink socket of the family proto (unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
// in the caller's network namespace.
func Open(proto int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return -1, fmt.Errorf("open a netlink socket: %w", err)
	}
	return fd, nil
}

// Send hands batch, which must have [Ack] on its last request, to the kernel on the netlink socket fd and checks the answers. The
// error is the first errno ([syscall.Errno]) that the kernel gave to a message of the batch, or [ErrNoAnswer].
//
// rtnetlink, nf_tables and NFLOG work off the batch before sendto(2) returns, so that every
// answer is in the receive queue by then and nothing has to be waited for. Each answer
// is a message of type [TypeError] whose first four bytes are 0 or a negative errno. A message
// with [Ack] is always answered, one without it only if it failed: a batch with Ack on its
// last message succeeded if and only if no answer has an errno and that last message has
// one without.
//
// A commit of nf_tables that fails answers with the sequence number of the batch's first message, and may
// still acknowledge the others: every answer has to be looked at.
func Send(fd int, batch []byte) error {
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := unix.Sendto(fd, batch, unix.MSG_NOSIGNAL, to); err != nil {
		return fmt.Errorf("send a netlink batch: %w", err)
	}
	want := lastAck(batch)
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
		for h, body := range Messages(buf[:n]) {
			if h.Type != TypeError || len(body) < 4 {
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

// lastAck returns the sequence number of the last message that wants an acknowledgement, 0 if
// none does.
func lastAck(batch []byte) (seq uint32) {
	for h := range Messages(batch) {
		if h.Flags&Ack != 0 {
			seq = h.Seq
		}
	}
	return seq
}
