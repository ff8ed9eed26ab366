package nft_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"substrate/internal/world/net/netlog"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/net/netns/netnstest"
	"substrate/internal/world/net/nft"

	"golang.org/x/sys/unix"
)

func send(t testing.TB, proto int, batch []byte) {
	t.Helper()
	fd, err := netnstest.Open(proto)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := netnstest.Send(fd, batch); err != nil {
		t.Fatal(err)
	}
}

// TestTableListed proves NET2: nft(8) lists the table as String prints it.
func TestTableListed(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		for _, v6 := range []bool{true, false} {
			rules, err := nft.Table("spn_0123", netlog.Group, netns.Addrs(v6)...)
			if err != nil {
				t.Fatal(err)
			}
			send(t, unix.NETLINK_NETFILTER, rules.Batch())
			if got, want := list(t), rules.String(); got != want {
				t.Errorf("nft lists\n%s\nwant\n%s", got, want)
			}
			if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
				t.Fatalf("nft flush ruleset: %v\n%s", err, out)
			}
		}
	})
}

// list returns what nft(8) prints of the namespace, without the differences between its releases.
func list(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft list ruleset: %v\n%s", err, out)
	}
	s := strings.ReplaceAll(string(out), " burst 5 packets", "")
	return strings.ReplaceAll(s, "reject with icmpx port-unreachable", "reject")
}

// TestTransaction proves NET2: a table that cannot be made leaves nothing behind, and Send returns
// the error.
func TestTransaction(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		rules, err := nft.Table("x", netlog.Group, netns.Addrs(true)...)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := netnstest.Open(unix.NETLINK_NETFILTER)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		broken := rules
		broken.Sets = broken.Sets[:1] // the set allowed6 is looked up, but not there
		if err := netnstest.Send(fd, broken.Batch()); !errors.Is(err, unix.ENOENT) {
			t.Errorf("Send of a table without a set: %v, want ENOENT", err)
		}
		if got := list(t); got != "" {
			t.Errorf("left behind:\n%s", got)
		}
		whole := rules.Batch()
		if err := netnstest.Send(fd, whole); err != nil {
			t.Errorf("Send after a failure: %v", err)
		}
		want := list(t)
		if err := netnstest.Send(fd, whole); !errors.Is(err, unix.EEXIST) {
			t.Errorf("Send of a table that is there: %v, want EEXIST", err)
		}
		if got := list(t); got != want {
			t.Errorf("the table became\n%s\nwant\n%s", got, want)
		}
	})
}

// TestBindTwice shows that a group has one reader, until its last descriptor is closed.
func TestBindTwice(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		first := ready(t)
		other, err := netnstest.Open(unix.NETLINK_NETFILTER)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(other)
		if err := netnstest.Send(other, netlog.Bind(netlog.Group)); !errors.Is(err, unix.EPERM) {
			t.Errorf("a second Bind: %v, want EPERM", err)
		}
		if err := netnstest.Send(first, netlog.Bind(netlog.Group+1)); err != nil {
			t.Errorf("Bind of another group: %v", err)
		}
	})
}

// BenchmarkInstall measures the parts of a world's network: addresses and routes, rules, and the
// NFLOG binding, each over a socket of its own. It needs root, and makes a namespace for each
// round.
func BenchmarkInstall(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for b.Loop() {
			b.StopTimer()
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				b.Error(err)
				return
			}
			b.StartTimer()
			timed(b, "route", unix.NETLINK_ROUTE, netns.Batch(true))
			rules, err := nft.Table("spn_0123", netlog.Group, netns.Addrs(true)...)
			if err != nil {
				b.Error(err)
			}
			timed(b, "nft", unix.NETLINK_NETFILTER, rules.Batch())
			timed(b, "nflog", unix.NETLINK_NETFILTER, netlog.Bind(netlog.Group))
		}
	}()
	<-done
	for what, d := range spent {
		b.ReportMetric(float64(d.Microseconds())/float64(b.N), what+"-µs/op")
	}
	clear(spent)
}

var spent = map[string]time.Duration{}

func timed(b *testing.B, what string, proto int, batch []byte) {
	start := time.Now()
	fd, err := netnstest.Open(proto)
	if err == nil {
		err = netnstest.Send(fd, batch)
		spent[what] += time.Since(start)
		err = errors.Join(err, unix.Close(fd))
	}
	if err != nil {
		b.Error(err)
	}
}
