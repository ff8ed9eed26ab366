package world

import (
	"strings"
	"testing"

	"substrate/internal/testenv"
)

// CGR1: in a login session, whose cgroup belongs to root, a user's world gets its cgroup from the
// user's systemd, starts inside it and reports no degradation. Without systemd it runs too and
// reports what it lacks, once.
func TestScope(t *testing.T) {
	testenv.InSession(t, func(t *testing.T, bus string) {
		a := newArena(t)
		a.spec.Bus = bus
		out, res := a.run(sh("cat /proc/self/cgroup"))
		if !strings.Contains(out, "/substrate-"+res.Name+".scope") {
			t.Errorf("the command ran in the cgroup %q, want one of systemd's", out)
		}
		if d := groupless(res); d > 0 {
			t.Errorf("degradations %v", res.Degraded)
		}
		a.spec.Bus = "unix:path=/no/such"
		if _, res := a.run(sh("true")); groupless(res) != 1 || res.Exit != 0 {
			t.Errorf("status %d, degradations %v, want one for the missing cgroup", res.Exit, res.Degraded)
		}
	})
}

// groupless counts the degradations about a missing cgroup.
func groupless(res *Result) int {
	n := 0
	for _, d := range res.Degraded {
		if d.Name == "cgroup" {
			n++
		}
	}
	return n
}
