package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

// inBoth runs body as root and as an ordinary user in a user namespace (PKG2).
func inBoth(t *testing.T, body func(t *testing.T, options string)) {
	t.Helper()
	t.Run("root", func(t *testing.T) {
		testenv.InRoot(t, func(t *testing.T) { body(t, OptionsRoot) })
	})
	t.Run("user", func(t *testing.T) {
		testenv.InUserns(t, func(t *testing.T) { body(t, OptionsUser) })
	})
}

// Directories whose names the kernel's option parser could misread, as each layer at a time.
func TestOverlayHostileNames(t *testing.T) {
	inBoth(t, func(t *testing.T, options string) {
		for i, name := range []string{
			`plain`, `a:b,c\d`, `,upperdir=x`, `trailing\`, `two\\`, `:lead`, `a b`, "new\nline", `é`, `=`, `"quote'`, "\xff\xfe",
			`#hash`, "tab\t", strings.Repeat("n", 200), strings.Repeat(`\,`, 60),
		} {
			base := filepath.Join(testenv.TempDir(t), fmt.Sprint(i))
			m := Mount{
				Kind: Overlay, Step: "overlay", Target: "/merged", Data: options,
				Lower: filepath.Join(base, "l", name), Upper: filepath.Join(base, "u", name), Work: filepath.Join(base, "w", name),
			}
			for _, dir := range []string{m.Lower, m.Upper, m.Work, base + "/merged"} {
				mustMkdir(t, dir)
			}
			mustWrite(t, filepath.Join(m.Lower, "from"), "lower")
			if err := Apply(base, []Mount{m}); err != nil {
				t.Errorf("overlay with %q: %v", name, err)
				continue
			}
			if got := read(base + "/merged/from"); got != "lower" {
				t.Errorf("overlay with %q shows %q, want the lower's file", name, got)
			}
			mustWrite(t, base+"/merged/new", "x")
			if read(filepath.Join(m.Upper, "new")) != "x" || read(filepath.Join(m.Lower, "new")) == "x" {
				t.Errorf("overlay with %q: a new file is not in the upper alone", name)
			}
			if err := unix.Unmount(base+"/merged", 0); err != nil {
				t.Error(err)
			}
		}
	})
}

// The kernel cuts options at a page; a path that would be cut must not be mounted as another path.
func TestOverlayLongOptions(t *testing.T) {
	long := "/" + strings.Repeat(strings.Repeat("d", 250)+"/", 6)
	m := Mount{Kind: Overlay, Target: "/m", Lower: long + "l", Upper: long + "u", Work: long + "w"}
	if _, err := m.OverlayData(); err == nil || !strings.Contains(err.Error(), "the kernel takes") {
		t.Errorf("OverlayData of 4.5 KB = %v, want an error", err)
	}
}

// A recursive bind is read-only all the way down, and adds nothing to the mounts that it came from.
func TestRBindReadOnly(t *testing.T) {
	inBoth(t, func(t *testing.T, _ string) {
		host, world := testenv.TempDir(t), testenv.TempDir(t)
		mustMkdir(t, host+"/sub")
		mustMount(t, "tmpfs", host, "mode=0755")
		mustMkdir(t, host+"/sub")
		mustMount(t, "tmpfs", host+"/sub", "mode=0755")
		ms := []Mount{{Kind: Mkdir, Target: "/a", Mode: 0o755}, {Kind: RBind, Target: "/a", Source: host, Flags: ReadOnly | NoDev}}
		if err := Apply(world, ms); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"/a", "/a/sub"} {
			if err := os.WriteFile(world+dir+"/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
				t.Errorf("write to %s = %v, want EROFS", dir, err)
			}
		}
		mustWrite(t, host+"/sub/x", "still writable")
	})
}

// A mount of a FUSE server that never answers must not hang the set-up (WLD1, DESIGN section 4).
func TestRBindHangingFUSE(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		host, world := testenv.TempDir(t), testenv.TempDir(t)
		mountSilentFUSE(t, host)
		ms := []Mount{{Kind: Mkdir, Target: "/a", Mode: 0o755}, {Kind: RBind, Step: "overlay", Target: "/a", Source: host, Flags: ReadOnly | NoDev}}
		done := make(chan error, 1)
		go func() { done <- Apply(world, ms) }()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("a bind of a FUSE mount that nobody serves hangs")
		}
		var st unix.Statfs_t
		if err := unix.Statfs(world, &st); err != nil {
			t.Fatal(err)
		}
		if got := read("/proc/self/mountinfo"); !strings.Contains(got, world+"/a ro,") {
			t.Errorf("mountinfo has no read-only mount at %s/a:\n%s", world, got)
		}
	})
}

// mountSilentFUSE mounts a FUSE file system whose requests nobody reads.
func mountSilentFUSE(t *testing.T, dir string) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		testenv.Skip(t, "needs /dev/fuse: "+err.Error())
	}
	t.Cleanup(func() {
		unix.Close(fd) // aborts the connection, so that nothing waits any more
		unix.Unmount(dir, unix.MNT_DETACH)
	})
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)
	if err := unix.Mount("silent", dir, "fuse", 0, data); err != nil {
		t.Fatalf("mount FUSE: %v", err)
	}
}

// All kinds at once, with an alternative, an optional failure and sources inside the world.
func TestApplyKinds(t *testing.T) {
	inBoth(t, func(t *testing.T, options string) {
		base, world := testenv.TempDir(t), testenv.TempDir(t)
		for _, dir := range []string{"l", "u", "w"} {
			mustMkdir(t, filepath.Join(base, dir))
		}
		mustWrite(t, base+"/l/etc", "lower")
		mustWrite(t, base+"/file", "host")
		ms := []Mount{
			{Kind: Overlay, Step: "overlay", Target: "/", Lower: base + "/l", Upper: base + "/u", Work: base + "/w", Data: options, Flags: NoDev},
			{Kind: Mkdir, Target: "/proc", Mode: 0o555},
			{Kind: Proc, Step: "proc", Target: "/proc", Flags: NoSuid | NoDev | NoExec},
			{Kind: Bind, Target: "/proc/sys", Source: "/proc/sys", Inside: true, Flags: ReadOnly | NoSuid | NoDev | NoExec},
			{Kind: Mkdir, Target: "/dev", Mode: 0o755},
			{Kind: Tmpfs, Step: "dev", Target: "/dev", Mode: 0o751, Data: "size=1m", Flags: NoSuid},
			{Kind: File, Target: "/dev/null", Mode: 0o644},
			{Kind: Bind, Target: "/dev/null", Source: "/dev/null", Flags: NoSuid},
			{Kind: Mkdir, Target: "/dev/pts", Mode: 0o755},
			{Kind: Devpts, Target: "/dev/pts", Flags: NoSuid | NoExec, Data: "newinstance,ptmxmode=0666,mode=0620"},
			{Kind: Symlink, Target: "/dev/ptmx", Source: "pts/ptmx"},
			{Kind: Mkdir, Target: "/dev/shm", Mode: 0o1777},
			{Kind: Mkdir, Target: "/dev/shm", Mode: 0o700}, // exists
			{Kind: File, Target: "/dev/fifo", Mode: unix.S_IFIFO | 0o600},
			{Kind: Tmpfs, Target: "/missing", Optional: true},
			{Kind: Tmpfs, Target: "/etc", Optional: true, Else: []Mount{{Kind: Bind, Target: "/etc", Source: base + "/file", Flags: ReadOnly}}},
			{Kind: Bind, Target: "/etc", Source: base + "/gone", Flags: ReadOnly, MayVanish: true},
			{Kind: Overlay, Target: "/etc", Lower: base + "/gone", Upper: base + "/u", Work: base + "/w", Data: options, MayVanish: true},
			{Kind: Mkdir, Target: "/late", Mode: 0o755},
			{Kind: Tmpfs, Target: "/late", Mode: 0o755},
			{Kind: Mkdir, Target: "/late/in", Mode: 0o755},
			{Kind: Remount, Target: "/late", Flags: ReadOnly},
		}
		if err := Apply(world, ms); err != nil {
			t.Fatal(err)
		}
		checkKinds(t, world)
	})
}

func checkKinds(t *testing.T, world string) {
	t.Helper()
	if got := read(world + "/etc"); got != "host" {
		t.Errorf("/etc = %q, want the alternative's %q", got, "host")
	}
	if err := os.WriteFile(world+"/etc", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to a read-only bind = %v, want EROFS", err)
	}
	if err := os.WriteFile(world+"/late/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write after Remount = %v, want EROFS", err)
	}
	if err := os.WriteFile(world+"/dev/null", []byte("x"), 0); err != nil {
		t.Errorf("write to /dev/null: %v", err)
	}
	if got, err := os.Readlink(world + "/proc/self"); err != nil || got != fmt.Sprint(os.Getpid()) {
		t.Errorf("/proc/self = %q, %v, want %d", got, err, os.Getpid())
	}
	if fd, err := unix.Open(world+"/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Errorf("open /dev/ptmx: %v", err)
	} else {
		unix.Close(fd)
	}
	for path, want := range map[string]os.FileMode{
		"/dev":      os.ModeDir | 0o751,
		"/dev/shm":  os.ModeDir | os.ModeSticky | 0o777,
		"/dev/fifo": os.ModeNamedPipe | 0o600,
	} {
		if st, err := os.Lstat(world + path); err != nil || st.Mode() != want {
			t.Errorf("mode of %s = %v, %v, want %v", path, st.Mode(), err, want)
		}
	}
	info := read("/proc/self/mountinfo")
	for _, want := range []string{world + "/proc/sys ro,nosuid,nodev,noexec", world + "/proc rw,nosuid,nodev,noexec", world + " rw,nodev"} {
		if !strings.Contains(info, " "+want) {
			t.Errorf("mountinfo lacks %q:\n%s", want, info)
		}
	}
}

// The error names the step, the mount and the cause.
func TestApplyError(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		err := Apply(testenv.TempDir(t), []Mount{
			{Kind: Mkdir, Step: "dev", Target: "/dev", Mode: 0o755},
			{Kind: Tmpfs, Step: "dev", Target: "/dev/no such", Mode: 0o755},
		})
		want := `dev: tmpfs at "/dev/no such": no such file or directory`
		if err == nil || err.Error() != want || !errors.Is(err, unix.ENOENT) {
			t.Errorf("Apply = %v, want %s", err, want)
		}
	})
}

// No descriptor stays open, whichever way a program ends.
func TestExecClosesDescriptors(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		testenv.Leaks(t)
		dir := testenv.TempDir(t)
		rbind := Mount{Kind: RBind, Step: "x", Target: "/missing", Source: dir, Flags: ReadOnly, Optional: true}
		if err := Apply(dir, []Mount{rbind, rbind}); err != nil {
			t.Fatal(err)
		}
		rbind.Optional = false
		if err := Apply(dir, []Mount{rbind}); err == nil {
			t.Error("Apply to a missing target succeeded")
		}
	})
}

func mustMount(t *testing.T, fstype, dir, data string) {
	t.Helper()
	if err := unix.Mount(fstype, dir, fstype, 0, data); err != nil {
		t.Fatalf("mount %s at %s: %v", fstype, dir, err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

func mustMkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func mustWrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// read returns what a file holds, or the error as text.
func read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
