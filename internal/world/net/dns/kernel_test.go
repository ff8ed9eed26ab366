package dns

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"substrate/internal/world/net/netlog"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/net/netns/netnstest"
	"substrate/internal/world/net/nft"

	"golang.org/x/sys/unix"
)

// TestLookup proves NET3 with the system's own resolver: a name does not exist, at once, and the
// report has it. The question itself is not reported as an attempt.
func TestLookup(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		log := network(t)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := bind(fd, Sockaddr(netip.AddrPortFrom(netns.Addr4, Port))); err != nil {
			t.Fatalf("bind to port %d: %v", Port, err)
		}
		var s Stub
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 512)
			for {
				n, from, err := unix.Recvfrom(fd, buf, 0)
				if err != nil || n == 0 {
					return // shut down
				}
				if err := unix.Sendto(fd, s.Answer(buf[:n]), 0, from); err != nil {
					t.Error(err)
				}
			}
		}()

		conf := filepath.Join(t.TempDir(), "resolv.conf")
		if err := os.WriteFile(conf, []byte("nameserver "+netns.Addr4.String()+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(conf, "/etc/resolv.conf", "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"Registry.example.org", "second.test", "registry.example.org"} {
			start := time.Now()
			out, err := exec.Command("getent", "ahosts", name).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 || time.Since(start) > time.Second {
				t.Errorf("getent ahosts %s: %v after %v, want status 2 at once\n%s", name, err, time.Since(start), out)
			}
		}
		if want, got := []string{"registry.example.org", "second.test"}, s.Names(); !slices.Equal(got, want) {
			t.Errorf("Names() = %q, want %q", got, want)
		}
		_ = unix.Shutdown(fd, unix.SHUT_RD) // ENOTCONN, but it wakes the reader
		<-done
		unix.Close(fd) //nolint:errcheck // the test is over
		var seen netlog.Distinct
		if netnstest.Attempts(t, log, &seen) || len(seen.Events()) != 0 {
			t.Errorf("attempts %v, want none", seen.Events())
		}
	})
}

// network makes the network of a world of the current namespace. The result is the socket that
// reports the attempts.
func network(t *testing.T) (log int) {
	t.Helper()
	rules, err := nft.Table("spn_0123", netlog.Group, netns.Addrs(true)...)
	if err != nil {
		t.Fatal(err)
	}
	fd := -1
	for _, part := range []struct {
		proto int
		batch []byte
	}{
		{unix.NETLINK_ROUTE, netns.Batch(true)},
		{unix.NETLINK_NETFILTER, rules.Batch()},
		{unix.NETLINK_NETFILTER, netlog.Bind(netlog.Group)},
	} {
		unix.Close(fd) //nolint:errcheck // -1 at first
		if fd, err = netnstest.Open(part.proto); err != nil {
			t.Fatal(err)
		}
		if err := netnstest.Send(fd, part.batch); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { unix.Close(fd) }) //nolint:errcheck // the test is over
	return fd
}
