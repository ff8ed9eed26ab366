package mount_test

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
	"substrate/internal/world/mount"
	"substrate/internal/world/mount/mounttest"
)

// inBoth runs body as root and as an ordinary user in a user namespace (PKG2).
func inBoth(t *testing.T, body func(t *testing.T, options string)) {
	t.Helper()
	t.Run("root", func(t *testing.T) {
		testenv.InRoot(t, func(t *testing.T) { body(t, mount.OptionsRoot) })
	})
	t.Run("user", func(t *testing.T) {
		testenv.InUserns(t, func(t *testing.T) { body(t, mount.OptionsUser) })
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
			m := mount.Mount{
				Kind: mount.Overlay, Step: "overlay", Target: "/merged", Data: options,
				Lower: filepath.Join(base, "l", name), Upper: filepath.Join(base, "u", name), Work: filepath.Join(base, "w", name),
			}
			for _, dir := range []string{m.Lower, m.Upper, m.Work, base + "/merged"} {
				mustMkdir(t, dir)
			}
			mustWrite(t, filepath.Join(m.Lower, "from"), "lower")
			if err := mounttest.Apply(base, []mount.Mount{m}); err != nil {
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
	m := mount.Mount{Kind: mount.Overlay, Target: "/m", Lower: long + "l", Upper: long + "u", Work: long + "w"}
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
		ms := []mount.Mount{{Kind: mount.Mkdir, Target: "/a", Mode: 0o755}, {Kind: mount.RBind, Target: "/a", Source: host, Flags: mount.ReadOnly | mount.NoDev}}
		if err := mounttest.Apply(world, ms); err != nil {
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
		ms := []mount.Mount{{Kind: mount.Mkdir, Target: "/a", Mode: 0o755}, {Kind: mount.RBind, Step: "overlay", Target: "/a", Source: host, Flags: mount.ReadOnly | mount.NoDev}}
		done := make(chan error, 1)
		go func() { done <- mounttest.Apply(world, ms) }()
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
		ms := []mount.Mount{
			{Kind: mount.Overlay, Step: "overlay", Target: "/", Lower: base + "/l", Upper: base + "/u", Work: base + "/w", Data: options, Flags: mount.NoDev},
			{Kind: mount.Mkdir, Target: "/proc", Mode: 0o555},
			{Kind: mount.Proc, Step: "proc", Target: "/proc", Flags: mount.NoSuid | mount.NoDev | mount.NoExec},
			{Kind: mount.Bind, Target: "/proc/sys", Source: "/proc/sys", Inside: true, Flags: mount.ReadOnly | mount.NoSuid | mount.NoDev | mount.NoExec},
			{Kind: mount.Mkdir, Target: "/dev", Mode: 0o755},
			{Kind: mount.Tmpfs, Step: "dev", Target: "/dev", Mode: 0o751, Data: "size=1m", Flags: mount.NoSuid},
			{Kind: mount.File, Target: "/dev/null", Mode: 0o644},
			{Kind: mount.Bind, Target: "/dev/null", Source: "/dev/null", Flags: mount.NoSuid},
			{Kind: mount.Mkdir, Target: "/dev/pts", Mode: 0o755},
			{Kind: mount.Devpts, Target: "/dev/pts", Flags: mount.NoSuid | mount.NoExec, Data: "newinstance,ptmxmode=0666,mode=0620"},
			{Kind: mount.Symlink, Target: "/dev/ptmx", Source: "pts/ptmx"},
			{Kind: mount.Mkdir, Target: "/dev/shm", Mode: 0o1777},
			{Kind: mount.Mkdir, Target: "/dev/shm", Mode: 0o700}, // exists
			{Kind: mount.File, Target: "/dev/fifo", Mode: unix.S_IFIFO | 0o600},
			{Kind: mount.Tmpfs, Target: "/missing", Optional: true},
			{Kind: mount.Tmpfs, Target: "/etc", Optional: true, Else: []mount.Mount{{Kind: mount.Bind, Target: "/etc", Source: base + "/file", Flags: mount.ReadOnly}}},
			{Kind: mount.Bind, Target: "/etc", Source: base + "/gone", Flags: mount.ReadOnly, MayVanish: true},
			{Kind: mount.Overlay, Target: "/etc", Lower: base + "/gone", Upper: base + "/u", Work: base + "/w", Data: options, MayVanish: true},
			{Kind: mount.Mkdir, Target: "/late", Mode: 0o755},
			{Kind: mount.Tmpfs, Target: "/late", Mode: 0o755},
			{Kind: mount.Mkdir, Target: "/late/in", Mode: 0o755},
			{Kind: mount.Remount, Target: "/late", Flags: mount.ReadOnly},
		}
		if err := mounttest.Apply(world, ms); err != nil {
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
		err := mounttest.Apply(testenv.TempDir(t), []mount.Mount{
			{Kind: mount.Mkdir, Step: "dev", Target: "/dev", Mode: 0o755},
			{Kind: mount.Tmpfs, Step: "dev", Target: "/dev/no such", Mode: 0o755},
		})
		want := `dev: tmpfs at "/dev/no such": no such file or directory`
		if err == nil || err.Error() != want || !errors.Is(err, unix.ENOENT) {
			t.Errorf("Apply = %v, want %s", err, want)
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
