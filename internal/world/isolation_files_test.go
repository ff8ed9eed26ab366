package world

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// plant makes a tree of the host's files in dir.
func (a *arena) plant(dir string) {
	a.t.Helper()
	for _, d := range []string{"", "sub", "sub/deep", "empty", "gone"} {
		must(a.t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	for i := range 12 {
		a.write(fmt.Sprintf("%s/f%d", dir, i), strings.Repeat("precious", 1000+i))
	}
	a.write(dir+"/sub/deep/leaf", "leaf")
	a.write(dir+"/gone/a", "a")
	must(a.t, os.Symlink("f1", dir+"/link"))
	must(a.t, os.Symlink(dir+"/sub", dir+"/dirlink"))
	must(a.t, os.Link(dir+"/f2", dir+"/hard"))
	must(a.t, unix.Mkfifo(dir+"/fifo", 0o644))
	_ = unix.Setxattr(dir+"/f3", "user.kept", []byte("1"), 0)
}

// WLD1: whatever a command does to any file, the host's files do not change, not even the change
// time of their inodes.
func TestIsolationFiles(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		home := a.dir + "/home"
		tmp, err := os.MkdirTemp("/tmp", "substrate-isolation-")
		must(t, err)
		defer os.RemoveAll(tmp)
		must(t, os.Chmod(tmp, 0o755))
		trees := []string{a.work + "/tree", home + "/tree", tmp + "/tree"}
		for _, dir := range trees {
			a.plant(dir)
		}
		host := append(slices.Clone(trees), "/etc/passwd", "/etc/hostname", "/etc/hosts", "/usr/bin/env", a.dir+"/probe")
		before := lookAt(t, host...)
		for _, dir := range trees {
			facts, res := a.probe("destroy", "TREE="+dir)
			for name, answer := range facts {
				if answer != "ok" && !slices.Contains(mayFail, name) {
					t.Errorf("%s in %s: %s: what works on the host works in a world", name, dir, answer)
				}
			}
			if len(facts) < 20 {
				t.Errorf("only %d attacks: %q", len(facts), facts)
			}
			if got := lookAt(t, host...); got != before {
				t.Fatalf("the host was\n%s\nand is\n%s", before, got)
			}
			if n := len(changedBelow(res, dir)); n < 20 {
				t.Errorf("the diff shows %d changes in %s: %q", n, dir, changedBelow(res, dir))
			}
		}
		// Shell and system tools, on everything within reach; only DAC decides what works.
		must(t, os.Setenv("HOME", home))
		out, res := a.sh(`for d; do rm -rf "$d"/* "$d"; done
rm -rf "$HOME" /tmp/substrate-isolation-* 2>/dev/null
for f in /etc/passwd /etc/hostname /etc/hosts /usr/bin/env; do echo x >> $f; chmod 777 $f; chown 0:7 $f; touch $f; ln $f $f.hard; mv $f $f.moved; rm -f $f; done 2>/dev/null
for d in /etc /usr /; do touch $d/substrate-made-this && echo made $d; done 2>/dev/null
chmod -R 0777 /etc/ssl 2>/dev/null; cat /etc/shadow >/dev/null 2>&1 && echo shadow
exit 0`, trees...)
		if got := lookAt(t, host...); got != before {
			t.Fatalf("the host was\n%s\nand is\n%s", before, got)
		}
		if want := byRank("made /etc\nmade /usr\nmade /\nshadow\n", ""); out != want {
			t.Errorf("beyond the caller's rights: %q, want %q", out, want)
		}
		for _, name := range []string{"/etc/substrate-made-this", "/usr/substrate-made-this", "/substrate-made-this"} {
			if _, err := os.Lstat(name); err == nil {
				t.Errorf("%s is on the host", name)
			}
		}
		for _, dir := range trees {
			if below := changedBelow(res, dir); !slices.Contains(below, "delete "+dir) {
				t.Errorf("no deletion of %s in the diff: %q", dir, below)
			}
		}
	})
}

// mayFail are attacks that some file systems or some users cannot make.
var mayFail = []string{"punch", "collapse", "xattr", "remove xattr", "clone", "chown", "acl", "rename dir", "nodump"}

// probeDestroy does everything to the files of a tree that the kernel can do to a file.
func probeDestroy(fact func(string, any)) {
	mustInside(os.Chdir(os.Getenv("TREE")))
	try := func(name string, err error) { fact(name, errno(err)) }
	try("overwrite", os.WriteFile("f0", []byte("bad"), 0o600))
	try("append", with("f1", unix.O_WRONLY|unix.O_APPEND, func(fd int) error { _, err := unix.Write(fd, []byte("bad")); return err }))
	try("hard link", unix.Link("f2", "another"))
	try("through hard link", with("another", unix.O_RDWR, func(fd int) error { _, err := unix.Pwrite(fd, []byte("bad"), 0); return err }))
	try("mmap", with("f3", unix.O_RDWR, func(fd int) error {
		m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(m, "bad")
		return unix.Munmap(m)
	}))
	try("reopened", with("f4", unix.O_RDONLY, func(fd int) error {
		return with(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_TRUNC, func(int) error { return nil })
	}))
	try("truncate", unix.Truncate("f5", 3))
	try("allocate", with("f6", unix.O_RDWR, func(fd int) error { return unix.Fallocate(fd, 0, 0, 1<<20) }))
	try("punch", with("f6", unix.O_RDWR, func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096)
	}))
	try("collapse", with("f6", unix.O_RDWR, func(fd int) error { return unix.Fallocate(fd, unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096) }))
	try("chmod", unix.Chmod("f7", 0o4777))
	try("fchmod", with("f8", unix.O_RDONLY, func(fd int) error { return unix.Fchmod(fd, 0o600) }))
	try("chown", unix.Lchown("f7", 7, 7))
	try("own chown", unix.Lchown("link", os.Getuid(), os.Getgid()))
	try("times", unix.UtimesNanoAt(unix.AT_FDCWD, "f8", []unix.Timespec{{Sec: 1}, {Sec: 1}}, 0))
	try("link times", unix.UtimesNanoAt(unix.AT_FDCWD, "link", []unix.Timespec{{Sec: 1}, {Sec: 1}}, unix.AT_SYMLINK_NOFOLLOW))
	try("xattr", unix.Setxattr("f9", "user.bad", []byte("bad"), 0))
	try("remove xattr", unix.Removexattr("f3", "user.kept"))
	try("nodump", setFlags("f9", 0x40 /* FS_NODUMP_FL */))
	try("copy range", copyRange("f10", "f9"))
	try("clone", with("f10", unix.O_RDONLY, func(from int) error {
		return with("f9", unix.O_WRONLY, func(to int) error { return unix.IoctlFileClone(to, from) })
	}))
	try("sendfile", with("f10", unix.O_RDONLY, func(from int) error {
		return with("f9", unix.O_WRONLY, func(to int) error { _, err := unix.Sendfile(to, from, nil, 100); return err })
	}))
	try("rename over", unix.Rename("f10", "f11"))
	try("exchange", unix.Renameat2(unix.AT_FDCWD, "f8", unix.AT_FDCWD, "link", unix.RENAME_EXCHANGE))
	try("rename dir", unix.Rename("sub", "sub2"))
	try("through a symlink", os.WriteFile("dirlink/made", []byte("bad"), 0o600))
	if errno(os.WriteFile("dirlink/made", nil, 0o600)) != "ok" { // after a rename the link leads nowhere
		fact("through a symlink", errno(os.WriteFile("sub2/made", nil, 0o600)))
	}
	try("dot dot", os.WriteFile("empty/../empty/../made", []byte("bad"), 0o600))
	try("nameless", with(".", unix.O_TMPFILE|unix.O_WRONLY, func(fd int) error {
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, "named", unix.AT_SYMLINK_FOLLOW)
	}))
	try("fifo", with("fifo", unix.O_RDWR|unix.O_NONBLOCK, func(fd int) error { _, err := unix.Write(fd, []byte("bad")); return err }))
	try("chmod fifo", unix.Chmod("fifo", 0o600))
	try("remove tree", os.RemoveAll("gone"))
	try("file for a tree", os.WriteFile("gone", nil, 0o600))
	try("tree for a file", func() error { return orFirst(os.Remove("f5"), os.Mkdir("f5", 0o700)) }())
	try("chmod tree", unix.Chmod(".", 0o700))
	try("socket", func() error {
		l, err := net.Listen("unix", "sock")
		if err == nil {
			l.(*net.UnixListener).SetUnlinkOnClose(false)
			err = l.Close()
		}
		return err
	}())
	try("acl", unix.Setxattr("f1", "system.posix_acl_access", []byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 6, 0, 255, 255, 255, 255, 32, 0, 6, 0, 255, 255, 255, 255}, 0))
}

func orFirst(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func with(name string, flags int, do func(fd int) error) error {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fd)
}

func copyRange(from, to string) error {
	return with(from, unix.O_RDONLY, func(in int) error {
		return with(to, unix.O_WRONLY, func(out int) error {
			_, err := unix.CopyFileRange(in, nil, out, nil, 1000, 0)
			return err
		})
	})
}

// WLD4: servers of the host are out of reach: sockets with a path, abstract ones, its loopback.
func TestIsolationSockets(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		if os.Geteuid() == 0 {
			must(t, setLink("lo", unix.IFF_UP)) // of this test's own network namespace
		}
		runDir, err := os.MkdirTemp(byRank("/run", "/dev/shm"), "substrate-isolation-")
		must(t, err)
		defer os.RemoveAll(runDir)
		paths := []string{a.work + "/s", a.dir + "/s", runDir + "/s", fmt.Sprintf("@substrate-isolation-%d-%d", os.Getpid(), os.Geteuid())}
		for _, p := range paths {
			l, err := net.Listen("unix", p)
			must(t, err)
			defer l.Close()
			c, err := net.Dial("unix", p) // the test can fail: here it works
			must(t, err)
			must(t, c.Close())
		}
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		defer tcp.Close()
		fifo := a.work + "/fifo"
		must(t, unix.Mkfifo(fifo, 0o600))
		reader, err := unix.Open(fifo, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(reader)
		facts, res := a.probe("sockets", "SOCKETS="+strings.Join(paths, ","), "TCP="+tcp.Addr().String(), "FIFO="+fifo)
		expect(t, facts, map[string]string{
			paths[0]: "ECONNREFUSED", paths[1]: "ECONNREFUSED", paths[2]: "ENOENT", paths[3]: "ECONNREFUSED",
			"tcp": "ECONNREFUSED", "fifo": "ENXIO",
		})
		if len(res.Blocked) != 0 {
			t.Errorf("loopback counts as blocked: %v", res.Blocked)
		}
	})
}

func probeSockets(fact func(string, any)) {
	for _, p := range strings.Split(os.Getenv("SOCKETS"), ",") {
		c, err := net.Dial("unix", p)
		if err == nil {
			_ = c.Close()
		}
		fact(p, errno(err))
	}
	c, err := net.Dial("tcp", os.Getenv("TCP"))
	if err == nil {
		_ = c.Close()
	}
	fact("tcp", errno(err))
	fact("fifo", opened(os.Getenv("FIFO"), unix.O_WRONLY)) // its reader is outside
}

// WLD2: a world has its own System V and POSIX IPC and its own host name.
func TestIsolationIPC(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		key := 0x51b57000 + os.Getpid()
		id, err := unix.SysvShmGet(key, 4096, unix.IPC_CREAT|unix.IPC_EXCL|0o600)
		must(t, err)
		defer unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		name := fmt.Sprintf("substrate-isolation-%d", os.Getpid())
		must(t, errOf(mqOpen(name, unix.O_CREAT|unix.O_RDWR)))
		defer mqUnlink(name)
		shm := a.write("/dev/shm/"+name, "x")
		defer os.Remove(shm)
		facts, _ := a.probe("ipc", fmt.Sprintf("KEY=%d", key), "NAME="+name)
		expect(t, facts, map[string]string{"shmget": "ENOENT", "mq_open": "ENOENT", "mq_open new": "ok", "/dev/shm": "ENOENT"})
		if _, err := unix.SysvShmGet(key, 0, 0); err != nil {
			t.Errorf("the segment of the host: %v", err)
		}
		if e := mqOpen(name+"-new", unix.O_RDWR); e != unix.ENOENT {
			t.Errorf("a message queue made inside is seen outside: %v", e)
		}
	})
}

func errOf(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// mqOpen opens a POSIX message queue and closes it.
func mqOpen(name string, flags int) unix.Errno {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return unix.EINVAL
	}
	fd, _, e := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(p)), uintptr(flags|unix.O_CLOEXEC), 0o600, 0, 0, 0)
	if e == 0 {
		_ = unix.Close(int(fd))
	}
	return e
}

func mqUnlink(name string) {
	if p, err := unix.BytePtrFromString(name); err == nil {
		_, _, _ = unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(p)), 0, 0)
	}
}

func probeIPC(fact func(string, any)) {
	var key int
	_, _ = fmt.Sscan(os.Getenv("KEY"), &key)
	_, err := unix.SysvShmGet(key, 0, 0)
	fact("shmget", errno(err))
	name := os.Getenv("NAME")
	fact("mq_open", errnoOf(mqOpen(name, unix.O_RDWR)))
	fact("mq_open new", errnoOf(mqOpen(name+"-new", unix.O_CREAT|unix.O_RDWR)))
	fact("/dev/shm", opened("/dev/shm/"+name, unix.O_RDONLY))
}

// NET1, NET3: every attempt to get out fails at once and is listed once, also beyond the rate limit
// of the kernel's log.
func TestIsolationTraffic(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		facts, res := a.probe("traffic")
		want := []string{}
		for i := 1; i <= 50; i++ {
			want = append(want, fmt.Sprintf("192.0.2.%d:%d/tcp", i, 1000+i), fmt.Sprintf("[2001:db8::%x]:%d/tcp", i, 2000+i))
		}
		want = append(want, "192.0.2.60:53/udp", "[2001:db8::60]:5353/udp", "10.0.0.1:99/udp")
		if os.Geteuid() == 0 {
			want = append(want, "192.0.2.70:0/icmp", "[2001:db8::70]:0/icmpv6")
		}
		if facts["v6"] != "ok" {
			want = slices.DeleteFunc(want, func(s string) bool { return s[0] == '[' })
		}
		var got []string
		for _, e := range res.Blocked {
			got = append(got, e.String())
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("blocked %d: %q\nwant %d: %q", len(got), got, len(want), want)
		}
		expect(t, facts, map[string]string{"tcp": "ECONNREFUSED", "slow": "false", "own loopback": "ok"})
		if want := []string{"one.example.com", "two.example.org"}; !slices.Equal(res.Lookups, want) {
			t.Errorf("lookups %q, want %q", res.Lookups, want)
		}
	})
}

func probeTraffic(fact func(string, any)) {
	begin := time.Now()
	fact("v6", "no")
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		_ = l.Close()
		fact("v6", "ok")
	}
	var answer error
	for range 2 {
		for i := 1; i <= 50; i++ {
			for _, to := range []string{fmt.Sprintf("192.0.2.%d:%d", i, 1000+i), fmt.Sprintf("[2001:db8::%x]:%d", i, 2000+i)} {
				var c net.Conn
				if c, answer = net.DialTimeout("tcp", to, 5*time.Second); answer == nil {
					_ = c.Close()
				}
			}
		}
	}
	fact("tcp", errno(answer))
	for range 3 {
		for _, to := range []string{"192.0.2.60:53", "[2001:db8::60]:5353", "10.0.0.1:99"} {
			if c, err := net.Dial("udp", to); err == nil {
				_, _ = c.Write([]byte("x"))
				_ = c.Close()
			}
		}
		for to, proto := range map[string]string{"192.0.2.70": "ip4:icmp", "2001:db8::70": "ip6:ipv6-icmp"} {
			if c, err := net.Dial(proto, to); err == nil {
				_, _ = c.Write([]byte{map[string]byte{"ip4:icmp": 8, "ip6:ipv6-icmp": 128}[proto], 0, 0, 0, 0, 0, 0, 0})
				_ = c.Close()
			}
		}
	}
	resolver := net.Resolver{PreferGo: true}
	for _, name := range []string{"one.example.com.", "two.example.org.", "ONE.example.com."} {
		_, _ = resolver.LookupHost(context.Background(), name)
	}
	fact("slow", time.Since(begin) > 10*time.Second)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		var c net.Conn
		if c, err = net.Dial("tcp", l.Addr().String()); err == nil {
			_ = c.Close()
		}
		_ = l.Close()
	}
	fact("own loopback", errno(err))
}
