package layout

import (
	"slices"
	"testing"

	"substrate/internal/world/mount"
)

// WLD4: whoever could write the host's settings cannot do so inside: root, and a uid 0 without capabilities, who in a user
// namespace of his own is still the owner of those files. An ordinary user could not anyway.
func TestProcIsSealed(t *testing.T) {
	for _, test := range []struct {
		who    string
		user   bool
		uid    int
		sealed bool
	}{{"root", false, 0, true}, {"uid 0 without capabilities", true, 0, true}, {"user", true, 1000, false}} {
		in, _ := readMachine(t, "testdata/hybrid-vm.txtar").input(t, test.uid)
		in.User = test.user
		plan, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		sealed := slices.ContainsFunc(plan.Mounts, func(m mount.Mount) bool {
			return m.Kind == mount.Bind && m.Target == "/proc/sys" && m.Flags&mount.ReadOnly != 0 && !m.Optional
		})
		if sealed != test.sealed {
			t.Errorf("%s: /proc/sys sealed is %v, want %v", test.who, sealed, test.sealed)
		}
	}
}
