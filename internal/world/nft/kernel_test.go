package nft_test

import (
	"os/exec"
	"strings"
	"testing"

	"substrate/internal/world/netlink"
	"substrate/internal/world/netlog"
	"substrate/internal/world/netns"
	"substrate/internal/world/netns/netnstest"
	"substrate/internal/world/nft"

	"golang.org/x/sys/unix"
)

func send(t testing.TB, proto int, batch []byte) {
	t.Helper()
	fd, err := netlink.Open(proto)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := netlink.Send(fd, batch); err != nil {
		t.Fatal(err)
	}
}

// TestTableListed proves NET2: the table is the one that was asked for, in the words of nft(8).
func TestTableListed(t *testing.T) {
	netnstest.Each(t, func(t *testing.T) {
		for _, v6 := range []bool{true, false} {
			rules, err := nft.Table("spn_0123", netlog.Group, netns.Addrs(v6)...)
			if err != nil {
				t.Fatal(err)
			}
			send(t, unix.NETLINK_NETFILTER, rules.Batch())
			out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
			if err != nil {
				t.Fatalf("nft list ruleset: %v\n%s", err, out)
			}
			if got, want := normal(string(out)), rules.String(); got != want {
				t.Errorf("nft lists\n%s\nwant\n%s", got, want)
			}
			if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
				t.Fatalf("nft flush ruleset: %v\n%s", err, out)
			}
		}
	})
}

// normal evens out what releases of nft(8) print differently.
func normal(s string) string {
	s = strings.ReplaceAll(s, " burst 5 packets", "")
	return strings.ReplaceAll(s, "reject with icmpx port-unreachable", "reject")
}
