package world

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"substrate/internal/world/net/netlog"
)

// NET3: the result says if the list had no room for every attempt.
func TestMoreAttemptsThanKept(t *testing.T) {
	a := newArena(t)
	w, err := New(a.spec)
	must(t, err)
	defer w.Close()
	r := &run{w: w, res: w.newResult(), net: network{log: -1, dns: -1}}
	for port := range uint16(netlog.MaxEvents + 1) {
		r.net.seen.Add(netlog.Event{Proto: "tcp", Dst: netip.MustParseAddr("192.0.2.1"), Port: port})
	}
	r.collect()
	if got := fmt.Sprint(r.res.Degraded); !strings.Contains(got, "incomplete") {
		t.Errorf("Degraded = %s, want the missing attempts named", got)
	}
}
