package netns_test

import (
	"net"
	"os/exec"
	"strings"
	"testing"

	"substrate/internal/world/net/netns"
	"substrate/internal/world/net/netns/netnstest"

	"golang.org/x/sys/unix"
)

func send(t testing.TB, batch []byte) {
	t.Helper()
	fd, err := netnstest.Open(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := netnstest.Send(fd, batch); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// TestBatch proves NET1 and NET3: loopback is up, and a route over it leads to everywhere.
func TestBatch(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			t.Fatal(err)
		}
		if lo.Index != netns.Loopback || lo.Flags&net.FlagUp != 0 {
			t.Fatalf("lo is %+v at first, want index %d and down", lo, netns.Loopback)
		}
		send(t, netns.Batch(false))
		wantLocal(t)
		if got := run(t, "ip", "-6", "route", "show", "default"); got != "" {
			t.Errorf("routes of Batch(false) for IPv6: %q, want none", got)
		}
		send(t, netns.Batch(true)) // also after the other, and twice
		send(t, netns.Batch(true))
		wantLocal(t)
		wantRoutes(t, "-6", "default dev lo metric 1024 pref medium")
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range addrs {
			got = append(got, a.String())
		}
		if want := "127.0.0.1/8 10.250.0.1/32 fd00::1/128 ::1/128"; strings.Join(got, " ") != want {
			t.Errorf("addresses are %q, want %q", got, want)
		}
		if out := run(t, "ip", "-6", "address", "show", "dev", "lo"); strings.Contains(out, "tentative") {
			t.Errorf("an address cannot be used yet:\n%s", out)
		}
	})
}

// wantLocal checks that there is one route to all of IPv4.
func wantLocal(t *testing.T) {
	t.Helper()
	const want = "local default dev lo scope host src 10.250.0.1"
	if got := strings.TrimSpace(run(t, "ip", "-4", "route", "show", "table", "local", "exact", "default")); got != want {
		t.Errorf("routes for IPv4: %q, want %q", got, want)
	}
}

func wantRoutes(t *testing.T, family, want string) {
	t.Helper()
	if got := strings.TrimSpace(run(t, "ip", family, "route", "show", "default")); got != want {
		t.Errorf("ip %s route show default: %q, want %q", family, got, want)
	}
}
