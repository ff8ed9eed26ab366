package netnstest_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/world/net/netlink"
	"substrate/internal/world/net/netns/netnstest"
)

// TestSend needs no privilege: it asks the kernel to change nothing.
func TestSend(t *testing.T) {
	fd, err := netnstest.Open(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	set := func(index uint32, flags uint16) []byte { // change nothing of an interface
		var b netlink.Batch
		b.Message(unix.RTM_GETLINK, flags)
		b.Raw(unix.AF_UNSPEC, 0, 0, 0)
		b.Raw(binary.NativeEndian.AppendUint32(nil, index)...)
		b.Raw(make([]byte, 8)...)
		return b.Bytes()
	}
	if err := netnstest.Send(fd, set(1, netlink.Ack)); err != nil {
		t.Errorf("Send: %v", err)
	}
	if err := netnstest.Send(fd, set(1<<30, 0)); !errors.Is(err, unix.ENODEV) {
		t.Errorf("Send of what fails, without Ack: %v, want ENODEV", err)
	}
	broken := set(1, netlink.Ack)
	binary.NativeEndian.PutUint32(broken, 1000) // longer than the batch: the kernel stops there
	if err := netnstest.Send(fd, append(broken, set(1, netlink.Ack)...)); err == nil {
		t.Error("Send of rubbish: no error")
	}
}
