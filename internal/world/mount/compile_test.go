package mount

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/world/ops"
)

// Alternatives and optional mounts become jumps, so that a child needs no decision of its own.
func TestCompileJumps(t *testing.T) {
	ms := []Mount{
		{Kind: Sysfs, Target: "/sys", Else: []Mount{{Kind: RBind, Target: "/sys", Source: "/sys", Flags: ReadOnly}}},
		{Kind: Tmpfs, Target: "/masked", Optional: true},
		{Kind: Bind, Target: "/file", Source: "/file", Flags: ReadOnly},
		{Kind: Mkdir, Target: "/dir", Mode: 0o755},
	}
	p := ops.New(0)
	p.Step("mounts")
	fd := p.NewReg()
	var mounts []int // of each op
	for i := range ms {
		if err := ms[i].Compile(p, "/stage", fd); err != nil {
			t.Fatal(err)
		}
		for len(mounts) < int(p.Len()) {
			mounts = append(mounts, i)
		}
	}
	type jump struct {
		nr         uintptr
		mnt        int
		next, fail int32
	}
	want := []jump{
		{unix.SYS_MOUNT, 0, 4, 1}, // sysfs, or
		{unix.SYS_OPEN_TREE, 0, 2, ops.Fatal},
		{unix.SYS_MOUNT_SETATTR, 0, 3, ops.Fatal},
		{unix.SYS_MOVE_MOUNT, 0, 4, ops.Fatal},
		{unix.SYS_MOUNT, 1, 5, 5},         // optional
		{unix.SYS_MOUNT, 2, 6, ops.Fatal}, // bind,
		{unix.SYS_MOUNT_SETATTR, 2, 8, 7}, // read-only the new way,
		{unix.SYS_MOUNT, 2, 8, ops.Fatal}, // or the old way
		{unix.SYS_MKDIRAT, 3, 9, ops.Fatal},
	}
	if int(p.Len()) != len(want) {
		t.Fatalf("Compile made %d ops, want %d", p.Len(), len(want))
	}
	for i, w := range want {
		o := p.At(int32(i))
		got := jump{o.Nr, mounts[i], o.Next, o.OnErr}
		if got.next == 0 {
			got.next = int32(i) + 1
		}
		if got != w {
			t.Errorf("op %d = %+v, want %+v", i, got, w)
		}
	}
}

// What the kernel would misread is refused before it gets there.
func TestCompileRefuses(t *testing.T) {
	overlay := Mount{Kind: Overlay, Target: "/x", Lower: "/l", Upper: "/u", Work: "/w"}
	long := overlay
	long.Lower = "/" + strings.Repeat("x", 5000)
	relative := overlay
	relative.Upper = "u"
	for _, tc := range []struct {
		m    Mount
		want string
	}{
		{long, "the kernel takes"},
		{relative, "must be absolute"},
		{Mount{Kind: Mkdir, Target: "relative"}, "not a clean absolute path"},
		{Mount{Kind: Mkdir, Target: "/a/../../etc"}, "not a clean absolute path"},
		{Mount{Kind: Bind, Target: "/a", Source: "b"}, "not an absolute path"},
		{Mount{Kind: Symlink, Target: "/a", Source: "b\x00c"}, "zero byte"},
		{Mount{Kind: 99, Target: "/a"}, "unknown kind"},
	} {
		_, err := compile("/stage", tc.m)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Compile(%v) = %v, want an error with %q", tc.m, err, tc.want)
		}
	}
	if _, err := compile("stage", Mount{Kind: Mkdir, Target: "/a"}); err == nil {
		t.Error("Compile with a relative root succeeded")
	}
}

// compile is Compile into a program that nobody executes.
func compile(root string, ms ...Mount) (*ops.Program, error) {
	p := ops.New(0)
	p.Step("mounts")
	fd := p.NewReg()
	for i := range ms {
		if err := ms[i].Compile(p, root, fd); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func TestOverlayDataEscapes(t *testing.T) {
	m := Mount{Kind: Overlay, Target: "/", Lower: `/a:b,c\d`, Upper: "/ü x\n", Work: "/w", Data: OptionsUser}
	got, err := m.OverlayData()
	want := `lowerdir=/a\:b\,c\\d,upperdir=/ü x` + "\n,workdir=/w,userxattr,index=off,xino=off,volatile"
	if err != nil || got != want {
		t.Errorf("OverlayData() = %q, %v, want %q", got, err, want)
	}
}

func TestString(t *testing.T) {
	for _, tc := range []struct {
		m    Mount
		want string
	}{
		{
			Mount{Kind: Overlay, Target: "/home", Lower: "/home", Upper: "/u/1", Work: "/w/1", Flags: NoDev | NoSuid},
			"overlay /home lower=/home upper=/u/1 work=/w/1 flags=nosuid,nodev",
		},
		{
			Mount{Kind: Bind, Target: "/a b\n", Source: "/proc/sys", Inside: true, Optional: true},
			`bind    "/a b\n" inside=/proc/sys optional`,
		},
		{
			Mount{Kind: Tmpfs, Target: "/x", Else: []Mount{{Kind: File, Target: "/x", Mode: 0o644}}},
			"tmpfs   /x mode=0000\n    else file    /x mode=0644",
		},
	} {
		if got := tc.m.String(); got != tc.want {
			t.Errorf("String() = %q, want %q", got, tc.want)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	var ms []Mount
	for range 40 {
		ms = append(ms, Mount{Kind: Overlay, Target: "/home", Lower: "/home", Upper: "/u/1", Work: "/w/1", Flags: NoDev, Data: OptionsRoot})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := compile("/stage", ms...); err != nil {
			b.Fatal(err)
		}
	}
}
