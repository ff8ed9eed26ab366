package mount

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// WLD3: a Fuse mount opens the device in the world's own user namespace, leaves it under a number
// that is known beforehand, and asks for nothing that a world could not have.
func TestCompileFuse(t *testing.T) {
	p, err := compile("/stage", Mount{Kind: Fuse, Target: "/home", Data: "user_id=7,allow_other", Flags: NoDev})
	if err != nil {
		t.Fatal(err)
	}
	var calls []uintptr
	for i := range p.Len() {
		calls = append(calls, p.At(i).Nr)
	}
	if !slices.Equal(calls, []uintptr{unix.SYS_OPENAT, unix.SYS_DUP3, unix.SYS_MOUNT}) {
		t.Fatalf("calls %v, want openat, dup3, mount", calls)
	}
	opened := uintptr(p.At(0).Dst) - 1
	if o := p.At(1); o.RegMask != 1 || o.Args[0] != opened || o.Args[1] != FuseFD || o.Args[2] != unix.O_CLOEXEC {
		t.Errorf("dup3 %+v", o)
	}
	if o := p.At(2); o.Args[3] != unix.MS_NODEV {
		t.Errorf("mount flags %#x", o.Args[3])
	}
	if s := (Mount{Kind: Fuse, Target: "/home"}).String(); !strings.HasPrefix(s, "fuse ") {
		t.Errorf("String = %q", s)
	}
}
