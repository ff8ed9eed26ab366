package layout

import (
	"slices"
	"testing"

	"substrate/internal/world/mount"
)

// WLD4: no caller can change the host's settings from a world. Root could, and so could uid 0
// without capabilities, who owns those files even in a user namespace. An ordinary user could not
// anyway.
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
