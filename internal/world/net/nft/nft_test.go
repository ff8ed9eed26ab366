package nft

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"strings"
	"testing"

	"substrate/internal/world/net/netlink"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files")

var own4, own6 = netip.MustParseAddr("10.250.0.1"), netip.MustParseAddr("fd00::1")

// TestTable proves NET2 with golden files in the form of nft(8).
func TestTable(t *testing.T) {
	for file, own := range map[string][]netip.Addr{
		"testdata/both.nft": {own4, own6},
		"testdata/ipv4.nft": {own4},
	} {
		rules, err := Table("spn_0123", 1, own...)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(file, []byte(rules.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), rules.String()); d != "" {
			t.Errorf("%s (-want +got):\n%s", file, d)
		}
	}
}

func TestTableNames(t *testing.T) {
	for _, name := range []string{"", "a b", "a-b", "../x", "é", "a\x00", strings.Repeat("x", MaxName+1)} {
		if _, err := Table(name, 1, own4); !errors.Is(err, ErrName) {
			t.Errorf("Table(%q): %v, want ErrName", name, err)
		}
	}
	rules, err := Table(strings.Repeat("x", MaxName), 1, own4)
	if err != nil || len(rules.Table) != 63 {
		t.Errorf("the longest name gives %q, %v", rules.Table, err)
	}
}

// TestBatchShape proves that only the last rule asks for an acknowledgement.
func TestBatchShape(t *testing.T) {
	rules, err := Table("x", 1, own4, own6)
	if err != nil {
		t.Fatal(err)
	}
	var types []uint16
	acks, last := 0, 0
	for h := range netlink.Messages(rules.Batch()) {
		types = append(types, h.Type)
		if h.Flags&netlink.Ack != 0 {
			acks++
			last = len(types)
		}
		if int(h.Seq) != len(types) {
			t.Errorf("message %d has sequence number %d", len(types), h.Seq)
		}
	}
	if types[0] != unix.NFNL_MSG_BATCH_BEGIN || types[len(types)-1] != unix.NFNL_MSG_BATCH_END {
		t.Errorf("the transaction is not closed: %x", types)
	}
	if want := 1 + 1 + len(rules.Sets) + 1 + len(rules.Rules) + 1; len(types) != want || acks != 1 || last != want-1 {
		t.Errorf("%d messages, %d with Ack, the last of them %d; want %d, 1, %d", len(types), acks, last, want, want-1)
	}
}

func BenchmarkBatch(b *testing.B) {
	for b.Loop() {
		rules, err := Table("spn_0123456789abcdef0123456789abcdef", 1, own4, own6)
		if err != nil {
			b.Fatal(err)
		}
		rules.Batch()
	}
}
