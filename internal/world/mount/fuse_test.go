package mount

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// WLD3: a Fuse mount opens the device in the world's own user namespace, leaves it under a number
// that is known beforehand, and asks for nothing that a world could not have.
func TestCompileFuse(t *testing.T) {
	calls, err := compile("/stage", []Mount{{Kind: Fuse, Target: "/home", Data: "user_id=7,allow_other", Flags: NoDev}})
	if err != nil {
		t.Fatal(err)
	}
	var traps []uintptr
	for _, c := range calls {
		traps = append(traps, c.Trap)
	}
	if len(traps) != 3 || traps[0] != unix.SYS_OPENAT || traps[1] != unix.SYS_DUP3 || traps[2] != unix.SYS_MOUNT {
		t.Fatalf("calls %v, want openat, dup3, mount", traps)
	}
	if c := calls[1]; !c.UseFD || c.Args[1] != FuseFD || c.Args[2] != unix.O_CLOEXEC {
		t.Errorf("dup3 %+v", c)
	}
	if c := calls[2]; c.Args[3] != unix.MS_NODEV {
		t.Errorf("mount flags %#x", c.Args[3])
	}
	if s := (Mount{Kind: Fuse, Target: "/home"}).String(); !strings.HasPrefix(s, "fuse ") {
		t.Errorf("String = %q", s)
	}
}
