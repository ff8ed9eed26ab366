package netns

import "testing"

func BenchmarkBatch(b *testing.B) {
	for b.Loop() {
		Batch(true)
	}
}

func TestAddrs(t *testing.T) {
	if got := Addrs(true); len(got) != 2 || got[0].String() != "10.250.0.1" || got[1].String() != "fd00::1" {
		t.Errorf("Addrs(true) = %v", got)
	}
	if got := Addrs(false); len(got) != 1 || got[0] != Addr4 {
		t.Errorf("Addrs(false) = %v", got)
	}
}

func BenchmarkV6Enabled(b *testing.B) {
	for b.Loop() {
		V6Enabled()
	}
}
