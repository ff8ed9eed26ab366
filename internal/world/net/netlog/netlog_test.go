package netlog

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"substrate/internal/world/net/netlink"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var (
	dst4 = netip.MustParseAddr("192.0.2.1")
	dst6 = netip.MustParseAddr("2001:db8::1")
)

func v4(proto byte, fragment uint16, options int, rest ...byte) []byte {
	p := make([]byte, 20+options)
	p[0], p[9] = 0x40|byte(5+options/4), proto
	binary.BigEndian.PutUint16(p[6:], fragment)
	copy(p[16:], dst4.AsSlice())
	return append(p, rest...)
}

func v6(proto byte, rest ...byte) []byte {
	p := make([]byte, 40)
	p[0], p[6] = 0x60, proto
	copy(p[24:], dst6.AsSlice())
	return append(p, rest...)
}

// message builds a datagram as the kernel would; uid -1 leaves the owner out.
func message(uid int, packets ...[]byte) []byte {
	var b netlink.Batch
	for _, p := range packets {
		b.Message(unix.NFNL_SUBSYS_ULOG<<8|msgPacket, 0)
		b.Raw(unix.AF_INET, 0, 0, Group)
		b.Attr(1, 8, 0, 3, 0) // NFULA_PACKET_HDR
		b.Attr(attrPayload, p...)
		if uid >= 0 {
			b.Big32(attrUID, uint32(uid))
		}
	}
	b.Message(netlink.TypeDone, 0)
	b.Raw(0, 0, 0, 0)
	return b.Bytes()
}

// TestDecode proves NET3: address, port and protocol of whatever was sent.
func TestDecode(t *testing.T) {
	port443 := []byte{0x90, 0, 1, 187, 0, 0, 0, 0}
	opts := append([]byte{unix.IPPROTO_TCP, 1}, make([]byte, 14)...) // destination options, 16 bytes
	tests := []struct {
		name   string
		packet []byte
		want   Event
	}{
		{"tcp4", v4(6, 0, 0, port443...), Event{"tcp", dst4, 443, 7}},
		{"tcp4 with options", v4(6, 0, 40, port443...), Event{"tcp", dst4, 443, 7}},
		{"udp4", v4(17, 0x2000, 0, port443...), Event{"udp", dst4, 443, 7}},
		{"udp4 later fragment", v4(17, 3, 0, port443...), Event{"udp", dst4, 0, 7}},
		{"icmp", v4(1, 0, 0, 8, 0, 1, 2), Event{"icmp", dst4, 0, 7}},
		{"sctp", v4(132, 0, 0, port443...), Event{"132", dst4, 443, 7}},
		{"gre", v4(47, 0, 0, port443...), Event{"47", dst4, 0, 7}},
		{"tcp4 cut", v4(6, 0, 0, 0, 1, 2), Event{"tcp", dst4, 0, 7}},
		{"tcp6", v6(6, port443...), Event{"tcp", dst6, 443, 7}},
		{"udp6", v6(17, port443...), Event{"udp", dst6, 443, 7}},
		{"icmpv6", v6(58, 128, 0), Event{"icmpv6", dst6, 0, 7}},
		{"neighbour solicitation by a command", v6(58, 135, 0), Event{"icmpv6", dst6, 0, 7}},
		{"tcp6 after options", v6(60, append(opts, port443...)...), Event{"tcp", dst6, 443, 7}},
		{"tcp6 after hop-by-hop and options", v6(0, append([]byte{60, 0, 0, 0, 0, 0, 0, 0}, append(opts, port443...)...)...), Event{"tcp", dst6, 443, 7}},
		{"udp6 first fragment", v6(44, append([]byte{17, 0, 0, 1, 0, 0, 0, 0}, port443...)...), Event{"udp", dst6, 443, 7}},
		{"udp6 later fragment", v6(44, append([]byte{17, 0, 1, 0, 0, 0, 0, 0}, port443...)...), Event{"udp", dst6, 0, 7}},
		{"tcp6 after authentication", v6(51, append([]byte{6, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, port443...)...), Event{"tcp", dst6, 443, 7}},
		{"options cut", v6(60, 6, 200, 0, 0, 0, 0, 0, 0), Event{"tcp", dst6, 0, 7}},
		{"no next header", v6(59), Event{"59", dst6, 0, 7}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decode(message(7, tt.packet))
			if err != nil || len(got) != 1 || got[0] != tt.want {
				t.Errorf("Decode = %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestDecodeSeveral(t *testing.T) {
	got, err := Decode(message(-1, v4(6, 0, 0, 0, 1, 0, 80), v4(17, 0, 0, 0, 1, 0, 53)))
	want := []Event{{"tcp", dst4, 80, -1}, {"udp", dst4, 53, -1}}
	if err != nil || !cmp.Equal(got, want, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })) {
		t.Errorf("Decode = %v, %v, want %v", got, err, want)
	}
}

// TestDecodeNoise shows that packets of the kernel itself are not attempts.
func TestDecodeNoise(t *testing.T) {
	for _, kind := range []byte{131, 133, 134, 135, 136, 143, 151} {
		if got, err := Decode(message(-1, v6(58, kind, 0))); err != nil || len(got) != 0 {
			t.Errorf("Decode of ICMPv6 type %d without owner = %v, %v, want nothing", kind, got, err)
		}
	}
	if got, err := Decode(message(-1, v6(58, 128, 0))); err != nil || len(got) != 1 {
		t.Errorf("Decode of an echo request without owner = %v, %v, want one event", got, err)
	}
}

func TestDecodeMalformed(t *testing.T) {
	whole := message(7, v4(6, 0, 0, 0, 1, 0, 80))
	for _, p := range [][]byte{
		whole[:len(whole)-3], whole[:10],
		{1, 2, 3},
		message(7, nil), message(7, []byte{0x50}), message(7, []byte{0x45, 0}),
		message(7, []byte{0x60, 0}), message(7, []byte{0x41, 19: 0}),
	} {
		if _, err := Decode(p); !errors.Is(err, ErrMalformed) {
			t.Errorf("Decode(%x): %v, want ErrMalformed", p, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(message(7, v4(6, 0, 40, 0, 1, 0, 80), v6(58, 135)))
	f.Add(message(-1, v6(0, 60, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80)))
	f.Fuzz(func(t *testing.T, p []byte) {
		events, _ := Decode(p)
		for _, e := range events {
			if !e.Dst.IsValid() || e.Proto == "" {
				t.Errorf("Decode(%x) made %+v", p, e)
			}
			_ = e.String()
		}
	})
}

func TestEventString(t *testing.T) {
	tests := map[string]Event{
		"192.0.2.1:443/tcp":     {"tcp", dst4, 443, 0},
		"[2001:db8::1]:443/tcp": {"tcp", dst6, 443, 0},
		"192.0.2.1:0/icmp":      {"icmp", dst4, 0, 0},
	}
	for want, e := range tests {
		if got := e.String(); got != want {
			t.Errorf("String() = %q, want %q", got, want)
		}
	}
}

func TestDistinct(t *testing.T) {
	var d Distinct
	a, b := Event{"tcp", dst4, 1, 5}, Event{"tcp", dst4, 2, 5}
	other := a
	other.UID = 6
	d.Add(b, a, other, b)
	if got := d.Events(); len(got) != 2 || got[0] != b || got[1] != a {
		t.Errorf("Events() = %v, want [%v %v]", got, b, a)
	}
	for port := range uint16(MaxEvents - 2) {
		d.Add(Event{"udp", dst4, port, 5})
	}
	if d.More {
		t.Errorf("More is true after %d events", len(d.Events()))
	}
	d.Add(Event{"sctp", dst4, 1, 5}, a)
	if got := d.Events(); len(got) != MaxEvents || !d.More {
		t.Errorf("%d events, More = %v, want %d, true", len(got), d.More, MaxEvents)
	}
}
