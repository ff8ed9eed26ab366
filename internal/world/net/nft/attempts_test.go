package nft_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"substrate/internal/world/net/netlog"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/net/netns/netnstest"
	"substrate/internal/world/net/nft"

	"golang.org/x/sys/unix"
)

// ready makes the network of a world of the current namespace. The result is the socket that
// reports the attempts.
func ready(t testing.TB) (log int) {
	t.Helper()
	rules, err := nft.Table("spn_0123", netlog.Group, netns.Addrs(true)...)
	if err != nil {
		t.Fatal(err)
	}
	send(t, unix.NETLINK_ROUTE, netns.Batch(true))
	send(t, unix.NETLINK_NETFILTER, rules.Batch())
	log, err = netnstest.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(log) }) //nolint:errcheck // the test is over
	if err := netnstest.Send(log, netlog.Bind(netlog.Group)); err != nil {
		t.Fatal(err)
	}
	return log
}

// soon is how long a refusal may take; without the reject rule it takes minutes.
const soon = time.Second

// refused checks that an attempt fails at once.
func refused(t *testing.T, network, addr string) {
	t.Helper()
	start := time.Now()
	err := attempt(network, addr)
	if took := time.Since(start); took > soon {
		t.Errorf("%s to %s took %v", network, addr, took)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%s to %s: %v, want ECONNREFUSED", network, addr, err)
	}
}

// attempt connects, and over UDP also sends until an answer comes.
func attempt(network, addr string) error {
	c, err := net.DialTimeout(network, addr, 2*soon)
	if err != nil || !strings.HasPrefix(network, "udp") {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * soon)); err != nil {
		return err
	}
	// The write fails with EPERM since the packet is dropped; the answer arrives too.
	if _, err := c.Write([]byte("x")); err != nil && !errors.Is(err, syscall.EPERM) {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

// raw checks that sending p over a raw socket fails.
func raw(t *testing.T, proto int, to string, p []byte) {
	t.Helper()
	a := netip.MustParseAddr(to)
	domain, sa := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Addr: [4]byte(a.AsSlice()[:4])})
	if a.Is6() {
		domain, sa = unix.AF_INET6, &unix.SockaddrInet6{Addr: a.As16()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		t.Fatalf("raw socket: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, p, 0, sa); !errors.Is(err, unix.EPERM) {
		t.Errorf("protocol %d to %s: %v, want EPERM", proto, to, err)
	}
}

func wantEvents(t *testing.T, log int, want ...string) {
	t.Helper()
	var seen netlog.Distinct
	if netnstest.Attempts(t, log, &seen) {
		t.Error("attempts were lost")
	}
	wantSeen(t, &seen, want)
}

func wantSeen(t *testing.T, seen *netlog.Distinct, want []string) {
	t.Helper()
	var got []string
	for _, e := range seen.Events() {
		got = append(got, e.String())
		if e.UID != os.Getuid() {
			t.Errorf("owner of %v is %d, want %d", e, e.UID, os.Getuid())
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("attempts are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestAttempts proves NET2 and NET3: each attempt fails at once and is reported, once.
func TestAttempts(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		log := ready(t)
		refused(t, "tcp", "192.0.2.1:443")
		refused(t, "tcp", "[2001:db8::1]:80")
		refused(t, "udp", "192.0.2.2:53")
		refused(t, "udp", "[2001:db8::2]:123")
		raw(t, unix.IPPROTO_ICMP, "192.0.2.3", []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0})
		raw(t, unix.IPPROTO_ICMPV6, "2001:db8::3", []byte{128, 0, 0, 0, 0, 0, 0, 0})
		raw(t, 253, "192.0.2.4", []byte("test"))
		refused(t, "tcp", "192.0.2.1:443") // again
		refused(t, "tcp", "10.250.0.2:1")
		wantEvents(t, log,
			"192.0.2.1:443/tcp", "[2001:db8::1]:80/tcp", "192.0.2.2:53/udp", "[2001:db8::2]:123/udp",
			"192.0.2.3:0/icmp", "[2001:db8::3]:0/icmpv6", "192.0.2.4:0/253", "10.250.0.2:1/tcp")
	})
}

// TestAttemptsAreNotLimited proves NET3: the limit of the kernel's log does not hide attempts.
func TestAttemptsAreNotLimited(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		log := ready(t)
		var seen netlog.Distinct
		var want []string
		for port := 1; port <= 200; port++ {
			addr := fmt.Sprintf("192.0.2.1:%d", port)
			refused(t, "tcp", addr)
			want = append(want, addr+"/tcp")
			if netnstest.Attempts(t, log, &seen) {
				t.Error("attempts were lost")
			}
		}
		wantSeen(t, &seen, want)
	})
}

// TestLoopback proves NET1: programs of a world can talk to each other, and nothing is reported.
func TestLoopback(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		log := ready(t)
		for _, host := range []string{"127.0.0.1", "127.1.2.3", "::1", netns.Addr4.String(), netns.Addr6.String()} {
			echoTCP(t, net.JoinHostPort(host, "0"))
			echoUDP(t, net.JoinHostPort(host, "0"))
			// Where nobody listens the kernel itself refuses.
			refused(t, "tcp", net.JoinHostPort(host, "9"))
			refused(t, "udp", net.JoinHostPort(host, "9"))
		}
		wantEvents(t, log)
	})
}

func echoTCP(t *testing.T, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialTimeout("tcp", l.Addr().String(), soon)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	roundTrip(t, c, s)
}

func echoUDP(t *testing.T, addr string) {
	t.Helper()
	s, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := net.Dial("udp", s.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	roundTrip(t, c, s.(net.Conn))
}

func roundTrip(t *testing.T, from, to net.Conn) {
	t.Helper()
	buf := make([]byte, 8)
	if _, err := from.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := to.SetReadDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	if n, err := to.Read(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("%v: received %q, %v", to.LocalAddr(), buf[:n], err)
	}
}

// TestListenersHearNothing proves NET1: packets to foreign addresses over lo reach nobody, not even
// a socket that listens on every address. A rule that accepts by interface fails here.
func TestListenersHearNothing(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		ready(t)
		l, err := net.ListenPacket("udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{"192.0.2.1", "2001:db8::1", "224.0.0.251", "255.255.255.255", "ff02::fb%lo", "ff05::2"} {
			c, err := net.Dial("udp", net.JoinHostPort(host, port))
			if errors.Is(err, syscall.EACCES) { // broadcast, which a socket has to ask for
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.EPERM) {
				t.Errorf("send to %s: %v, want EPERM", host, err)
			}
			c.Close()
		}
		if err := l.SetReadDeadline(time.Now()); err != nil {
			t.Fatal(err)
		}
		if n, from, err := l.ReadFrom(make([]byte, 8)); err == nil {
			t.Errorf("%d bytes from %v reached a listener", n, from)
		}
		for _, host := range []string{"192.0.2.1", "2001:db8::1"} {
			refused(t, "tcp", net.JoinHostPort(host, port))
		}
	})
}

// TestAllowed proves the sets of NET2: what they hold is not refused and not reported.
func TestAllowed(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		log := ready(t)
		for set, network := range map[string]string{nft.Allowed4: "192.0.2.0/25", nft.Allowed6: "2001:db8:1::/48"} {
			if out, err := exec.Command("nft", "add", "element", "inet", "substrate_spn_0123", set, "{", network, "}").CombinedOutput(); err != nil {
				t.Fatalf("nft add element: %v\n%s", err, out)
			}
		}
		for _, addr := range []string{"192.0.2.127:5", "[2001:db8:1::5]:5"} {
			c, err := net.Dial("udp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte("x")); err != nil {
				t.Errorf("send to %s, which is allowed: %v", addr, err)
			}
			c.Close()
		}
		refused(t, "udp", "192.0.2.128:5")
		refused(t, "udp", "[2001:db8:2::5]:5")
		wantEvents(t, log, "192.0.2.128:5/udp", "[2001:db8:2::5]:5/udp")
	})
}

// TestAtOnce proves that a new namespace refuses from its first moment.
func TestAtOnce(t *testing.T) {
	netnstest.Root(t, func(t *testing.T) {
		runtime.LockOSThread() // and never unlocked: the thread ends with the test
		for range 100 {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				t.Fatal(err)
			}
			ready(t)
			connect(t, &unix.SockaddrInet6{Port: 80, Addr: [16]byte{0x20, 1, 0x0d, 0xb8, 15: 1}})
		}
	})
}

// connect is refused within soon, on the caller's thread.
func connect(t *testing.T, to unix.Sockaddr) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	start := time.Now()
	if err := unix.Connect(fd, to); !errors.Is(err, unix.ECONNREFUSED) || time.Since(start) > soon {
		t.Errorf("connect: %v after %v, want ECONNREFUSED at once", err, time.Since(start))
	}
}

// TestLost shows that a reader that is too slow gets ENOBUFS.
func TestLost(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		log := ready(t)
		if err := unix.SetsockoptInt(log, unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10); err != nil {
			t.Fatal(err)
		}
		c, err := net.ListenPacket("udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for port := 1; port <= 1000; port++ {
			to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), uint16(port)))
			if _, err := c.WriteTo([]byte("x"), to); !errors.Is(err, syscall.EPERM) {
				t.Fatal(err)
			}
		}
		var seen netlog.Distinct
		lost := netnstest.Attempts(t, log, &seen)
		t.Logf("the buffer held %d events", len(seen.Events()))
		if !lost {
			t.Error("1000 attempts fit into the buffer, want some lost and ENOBUFS")
		}
	})
}

// TestHostUntouched proves NET1: rules, addresses and routes of the host are the same afterwards.
func TestHostUntouched(t *testing.T) {
	before := ""
	if netnstest.OnHost() {
		before = host(t)
	}
	netnstest.Each(t, func(t *testing.T) {
		ready(t)
		refused(t, "tcp", "192.0.2.1:443")
	})
	if !netnstest.OnHost() {
		return
	}
	if after := host(t); after != before {
		t.Errorf("the host has\n%s\nbefore it had\n%s", after, before)
	}
}

func host(t *testing.T) string {
	t.Helper()
	look := "ip address && ip route show table all && ip -6 route show table all"
	if os.Getuid() == 0 {
		look += " && nft list ruleset"
	}
	out, err := exec.Command("sh", "-c", look).CombinedOutput()
	if err != nil {
		t.Fatalf("look at the host's network: %v\n%s", err, out)
	}
	return string(out)
}
