package world

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// WLD4: what the kernel refuses to a command in a world.
func TestIsolationPowers(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		facts, res := a.probe("powers")
		expect(t, facts, map[string]string{
			"CapInh": "0000000000000000", "CapAmb": "0000000000000000",
			// CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW
			// IPC_LOCK IPC_OWNER SYS_CHROOT LEASE AUDIT_WRITE SETFCAP
			"CapPrm": byRank("00000000b004e5fb", "0000000000000000"), "CapEff": byRank("00000000b004e5fb", "0000000000000000"),
			"CapBnd": byRank("00000000b004e5fb", "0000000000000000"), "NoNewPrivs": byRank("0", "1"),

			"mount": "EPERM", "umount": "EPERM", "umount hidden": "EPERM", "remount": "EPERM", "pivot_root": "EPERM", "move_mount": "EPERM",
			"unshare mnt": "EPERM", "setns own mnt": "EPERM", "chroot": byRank("ok", "EPERM"),
			"mknod char": "EPERM", "mknod block": "EPERM", "mknod whiteout": "EPERM",
			"open_by_handle_at": "EPERM",
			"sethostname":       "EPERM", "clock_settime": "EPERM", "settimeofday": "EPERM", "reboot": "EPERM",
			"swapon": "EPERM", "acct": "EPERM", "init_module": "EPERM|ENOSYS",
			"trusted xattr": "EPERM", "overlay xattr": "EPERM|EOPNOTSUPP|ok", "immutable": "EPERM",
			"raw socket": byRank("ok", "EPERM"), "lo down": "EPERM", "nft": "EPERM",
		})
		if below := changedBelow(res, "/"); len(below) != 0 {
			t.Errorf("refused attempts left changes: %q", below)
		}
	})
}

func probePowers(fact func(string, any)) {
	for line := range strings.Lines(readText("/proc/self/status")) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":\t"); ok && (strings.HasPrefix(k, "Cap") || k == "NoNewPrivs") {
			fact(k, v)
		}
	}
	try := func(name string, err error) { fact(name, errno(err)) }
	raw := func(name string, nr uintptr, args ...uintptr) {
		var a [3]uintptr
		copy(a[:], args)
		_, _, e := unix.RawSyscall(nr, a[0], a[1], a[2])
		fact(name, errnoOf(e))
	}
	try("mount", unix.Mount("tmpfs", "/mnt", "tmpfs", 0, ""))
	try("umount", unix.Unmount("/proc", unix.MNT_DETACH))
	try("umount hidden", unix.Unmount(os.Getenv("ARENA")+"/overlay", unix.MNT_DETACH))
	try("remount", unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	try("pivot_root", unix.PivotRoot("/", "/"))
	fd, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE)
	if err == nil {
		err = unix.MoveMount(fd, "", unix.AT_FDCWD, "/mnt", unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	try("move_mount", err)
	raw("unshare mnt", unix.SYS_UNSHARE, unix.CLONE_NEWNS)
	try("setns own mnt", setns("/proc/self/ns/mnt", unix.CLONE_NEWNS))
	try("mknod char", unix.Mknod("c", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))))
	try("mknod block", unix.Mknod("b", unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0))))
	try("mknod whiteout", unix.Mknod("w", unix.S_IFCHR|0o666, 0))
	root, _ := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	_, err = unix.OpenByHandleAt(root, unix.NewFileHandle(1, make([]byte, 8)), unix.O_RDONLY)
	try("open_by_handle_at", err)
	try("sethostname", unix.Sethostname([]byte("x")))
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &ts)
	raw("clock_settime", unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, uintptr(unsafe.Pointer(&ts)))
	tv := unix.NsecToTimeval(ts.Nano())
	try("settimeofday", unix.Settimeofday(&tv))
	raw("reboot", unix.SYS_REBOOT) // without its magic numbers nothing could happen
	raw("swapon", unix.SYS_SWAPON, uintptr(unsafe.Pointer(&[]byte("/nowhere\x00")[0])))
	raw("acct", unix.SYS_ACCT, uintptr(unsafe.Pointer(&[]byte("/nowhere\x00")[0])))
	raw("init_module", unix.SYS_INIT_MODULE)
	if err := os.WriteFile("x", nil, 0o600); err != nil {
		fact("write", err)
	}
	try("trusted xattr", unix.Setxattr("x", "trusted.overlay.redirect", []byte("/"), 0))
	try("overlay xattr", unix.Setxattr("x", "user.overlay.redirect", []byte("/"), 0))
	try("immutable", setFlags("x", 0x10 /* FS_IMMUTABLE_FL */))
	_ = os.Remove("x")
	try("raw socket", closed(unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)))
	try("lo down", linkDown("lo"))
	try("nft", deleteTables())
	try("chroot", unix.Chroot("/"))
}

func closed(fd int, err error) error {
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}

func errnoOf(e unix.Errno) string {
	if e == 0 {
		return "ok"
	}
	return unix.ErrnoName(e)
}

func setns(path string, kind int) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, _, e := unix.RawSyscall(unix.SYS_SETNS, uintptr(fd), uintptr(kind), 0)
	if e != 0 {
		return e
	}
	return nil
}

func setFlags(name string, flags int) error {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags)
}

// linkDown takes an interface down.
func linkDown(name string) error { return setLink(name, 0) }

func setLink(name string, flags uint16) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(flags)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// deleteTables asks nf_tables to delete every table: `nft flush ruleset`.
func deleteTables() error {
	message := func(kind uint16, flags uint16, seq uint32, subsys byte) []byte {
		b := make([]byte, 20)
		*(*unix.NlMsghdr)(unsafe.Pointer(&b[0])) = unix.NlMsghdr{Len: 20, Type: kind, Flags: unix.NLM_F_REQUEST | flags, Seq: seq}
		b[19] = subsys
		return b
	}
	batch := message(unix.NFNL_MSG_BATCH_BEGIN, 0, 1, unix.NFNL_SUBSYS_NFTABLES)
	batch = append(batch, message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_DELTABLE, unix.NLM_F_ACK, 2, 0)...)
	batch = append(batch, message(unix.NFNL_MSG_BATCH_END, 0, 3, unix.NFNL_SUBSYS_NFTABLES)...)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n >= 20 {
		if code := *(*int32)(unsafe.Pointer(&answer[16])); code != 0 {
			return unix.Errno(-code)
		}
	}
	return nil
}

func readText(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(b)
}

// WLD4, WLD5, RPL4: a command sees only the processes of its world, cannot look into the init
// process, which holds the locks, and inherits only descriptors 0, 1 and 2.
func TestIsolationProcesses(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		leak, err := unix.Open(a.dir, unix.O_RDONLY|unix.O_DIRECTORY, 0) // inherited by everything that is not careful
		must(t, err)
		defer unix.Close(leak)
		facts, _ := a.probe("processes")
		expect(t, facts, map[string]string{
			"pids": "1 2", "own pid": "2", "parent": "1", "session": "2", "descriptors": "0 1 2",
			"ptrace": "EPERM", "process_vm_readv": "EPERM", "pidfd_getfd": "EPERM", "kill 1": "ok", "stop 1": "ok", "terminate 1": "ok",
			"/proc/1/environ": "EACCES", "/proc/1/mem": "EACCES", "/proc/1/maps": "EACCES", "/proc/1/auxv": "EACCES",
			"/proc/1/root": "EACCES", "/proc/1/cwd": "EACCES", "/proc/1/exe": "EACCES", "/proc/1/fd/N": "EACCES",
			"/proc/1/ns/mnt": "EACCES", "/proc/1/root/etc/passwd": "EACCES",
			"list /proc/1/fd": byRank("ok", "EACCES"), // numbers alone "list /proc/1/map_files": "EACCES",
		})
	})
}

func probeProcesses(fact func(string, any)) {
	var fds []string
	names, _ := filepath.Glob("/proc/self/fd/*")
	for _, name := range names {
		if to, err := os.Readlink(name); err == nil && !strings.HasPrefix(to, "anon_inode:[event") {
			fds = append(fds, filepath.Base(name))
		}
	}
	fact("descriptors", strings.Join(fds, " "))
	fact("own pid", os.Getpid())
	fact("parent", os.Getppid())
	sid, _ := unix.Getsid(0)
	fact("session", sid)
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if n, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, n)
		}
	}
	sort.Ints(pids)
	fact("pids", strings.Trim(fmt.Sprint(pids), "[]"))
	for _, name := range []string{"environ", "mem", "maps", "auxv", "root", "cwd", "exe", "ns/mnt", "root/etc/passwd"} {
		fact("/proc/1/"+name, opened("/proc/1/"+name, unix.O_RDONLY))
	}
	for _, name := range []string{"fd", "map_files"} {
		_, err := os.ReadDir("/proc/1/" + name)
		fact("list /proc/1/"+name, errno(err))
	}
	descriptors := "EACCES"
	for fd := range 64 {
		if answer := opened("/proc/1/fd/"+strconv.Itoa(fd), unix.O_RDONLY); answer != "EACCES" && answer != "ENOENT" {
			descriptors = strconv.Itoa(fd) + " " + answer
		}
	}
	fact("/proc/1/fd/N", descriptors)
	fact("ptrace", errno(syscall.PtraceAttach(1)))
	local := []byte{0}
	_, err := unix.ProcessVMReadv(1, []unix.Iovec{{Base: &local[0], Len: 1}}, []unix.RemoteIovec{{Base: 0x1000, Len: 1}}, 0)
	fact("process_vm_readv", errno(err))
	pidfd, err := unix.PidfdOpen(1, 0)
	if err == nil {
		_, err = unix.PidfdGetfd(pidfd, 0, 0)
	}
	fact("pidfd_getfd", errno(err))
	fact("kill 1", errno(unix.Kill(1, unix.SIGKILL)))
	fact("stop 1", errno(unix.Kill(1, unix.SIGSTOP)))
	fact("terminate 1", errno(unix.Kill(1, unix.SIGTERM)))
}

// WLD1, WLD4, WLD6: what a command sees: devices, PTYs, run-time directories, cgroups, the store.
func TestIsolationView(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		store := a.dir + "/store"
		must(t, os.Mkdir(store, 0o700))
		a.write(store+"/vault", "secret")
		file := a.write(a.dir+"/trace", "secret")
		must(t, os.Symlink(store, a.work+"/link"))
		must(t, os.Link(file, a.work+"/hard"))
		a.spec.Hide = []string{store, file}
		before := lookAt(t, a.dir+"/store", a.dir+"/trace", "/dev/shm")
		facts, res := a.probe("view")
		expect(t, facts, map[string]string{
			"/dev":              "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero",
			"devices":           "full=1:7 null=1:3 random=1:8 tty=5:0 urandom=1:9 zero=1:5",
			"/dev/pts":          "ptmx",
			"/dev/shm":          "",
			"/run":              "lock user",
			"/run/user":         strconv.Itoa(os.Geteuid()),
			"/sys/fs/cgroup":    "",
			"/sys/kernel/debug": byRank("", "EACCES|"), "/proc/fs/nfsd": "|ENOENT",
			"mkdir /sys/fs/cgroup/x":        "ENOENT|EROFS|EPERM|EACCES",
			"/proc/sys/kernel/core_pattern": byRank("EROFS", "EACCES"), "/proc/sys/vm/drop_caches": byRank("EROFS", "EACCES"),
			"/proc/sys/kernel/hostname": byRank("EROFS", "EACCES"), "/proc/sys/net/ipv4/ip_forward": byRank("EROFS", "EACCES"),
			"/proc/sysrq-trigger": byRank("EROFS|ENOENT", "EACCES|ENOENT"), "/proc/kcore": byRank("EPERM|ENOENT|empty", "EACCES|ENOENT"),
			"/sys/kernel/uevent_seqnum": "EROFS|EACCES", "/proc/kmsg": "EPERM|EACCES|ENOENT",
			"/dev/tty": "ENXIO", "raw disk": "none",
			"store": "", "trace": "empty", "link": "", "hide write": "EROFS|EACCES", "trace write": "EROFS|EACCES",
			"overlay": "", "run root": "", "rename store": "EBUSY", "remove store": "EBUSY", "remove trace": "EBUSY",
			"resolv.conf write": "EROFS|EACCES", "chmod resolv.conf": "EROFS|EPERM",
		})
		if got := lookAt(t, a.dir+"/store", a.dir+"/trace", "/dev/shm"); got != before {
			t.Errorf("the store was\n%s\nand is\n%s", before, got)
		}
		for _, dir := range append(append([]string{"/dev", "/run", "/proc", "/sys", store, file}, a.spec.Dirs.Run...), a.spec.Dirs.Overlay...) {
			if c := changedBelow(res, dir); len(c) != 0 {
				t.Errorf("the diff shows %q", c)
			}
		}
	})
}

func probeView(fact func(string, any)) {
	list := func(name, dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			fact(name, errno(err))
			return
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		fact(name, strings.Join(names, " "))
	}
	for _, dir := range []string{"/dev", "/dev/pts", "/dev/shm", "/run", "/run/user", "/sys/fs/cgroup", "/sys/kernel/debug", "/proc/fs/nfsd"} {
		list(dir, dir)
	}
	var devices []string
	_ = filepath.WalkDir("/dev", func(path string, d os.DirEntry, err error) error {
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT&^unix.S_IFCHR == 0 && st.Mode&unix.S_IFCHR != 0 && filepath.Dir(path) == "/dev" {
			devices = append(devices, fmt.Sprintf("%s=%d:%d", d.Name(), unix.Major(st.Rdev), unix.Minor(st.Rdev)))
		}
		return nil
	})
	fact("devices", strings.Join(devices, " "))
	fact("mkdir /sys/fs/cgroup/x", errno(unix.Mkdir("/sys/fs/cgroup/x", 0o755)))
	for _, name := range []string{
		"/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward",
		"/proc/sysrq-trigger", "/sys/kernel/uevent_seqnum",
	} {
		fact(name, opened(name, unix.O_WRONLY))
	}
	for _, name := range []string{"/dev/tty", "/proc/kcore", "/proc/kmsg"} {
		answer := opened(name, unix.O_RDONLY)
		if answer == "ok" && readText(name) == "" {
			answer = "empty"
		}
		fact(name, answer)
	}
	fact("raw disk", rawDisk())
	arena := os.Getenv("ARENA")
	list("store", arena+"/store")
	list("link", arena+"/work/link")
	list("overlay", arena+"/overlay")
	list("run root", arena+"/run")
	text, err := os.ReadFile(arena + "/trace")
	fact("trace", map[bool]string{true: "empty", false: fmt.Sprintf("%q %v", text, err)}[err == nil && len(text) == 0])
	fact("hide write", opened(arena+"/store/x", unix.O_CREAT|unix.O_WRONLY))
	fact("trace write", opened(arena+"/trace", unix.O_WRONLY|unix.O_APPEND))
	fact("rename store", errno(unix.Rename(arena+"/store", arena+"/other")))
	fact("remove store", errno(unix.Rmdir(arena+"/store")))
	fact("remove trace", errno(unix.Unlink(arena+"/trace")))
	fact("resolv.conf write", opened("/etc/resolv.conf", unix.O_WRONLY))
	fact("chmod resolv.conf", errno(unix.Chmod("/etc/resolv.conf", 0o777)))
}

// rawDisk searches for a block device that can be opened.
func rawDisk() string {
	found := "none"
	for _, dir := range []string{"/dev", "/dev/mapper", "/dev/disk/by-path"} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			name := dir + "/" + e.Name()
			var st unix.Stat_t
			if unix.Stat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
				found = name + " " + opened(name, unix.O_RDONLY)
			}
		}
	}
	return found
}

// lookAt describes files, except for their access times.
func lookAt(t *testing.T, roots ...string) string {
	t.Helper()
	var b strings.Builder
	for _, root := range roots {
		_ = filepath.WalkDir(root, func(path string, _ os.DirEntry, _ error) error {
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				fmt.Fprintf(&b, "%s %v\n", path, err)
				return nil
			}
			fmt.Fprintf(&b, "%s %o %d:%d %d links ino %d size %d m %d c %d", path, st.Mode, st.Uid, st.Gid, st.Nlink, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano())
			switch st.Mode & unix.S_IFMT {
			case unix.S_IFREG:
				fmt.Fprintf(&b, " %q", readText(path))
			case unix.S_IFLNK:
				to, _ := os.Readlink(path)
				fmt.Fprintf(&b, " -> %q", to)
			}
			names := make([]byte, 4096)
			if n, err := unix.Llistxattr(path, names); err == nil {
				fmt.Fprintf(&b, " %q", names[:n])
			}
			b.WriteByte('\n')
			return nil
		})
	}
	return b.String()
}

// WLD4: there is no way out through a user namespace inside the world, in which the command is
// root.
func TestIsolationNested(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		must(t, os.Mkdir(a.dir+"/store", 0o700))
		a.write(a.dir+"/store/vault", "secret")
		a.spec.Hide = []string{a.dir + "/store"}
		before := lookAt(t, a.dir+"/store", "/proc/sys/kernel/core_pattern")
		facts, _ := a.probe("nested")
		if facts["start"] != "ok" {
			t.Fatalf("no user namespace inside: %q", facts)
		}
		expect(t, facts, map[string]string{
			"CapEff full": "true", "sysfs": "EPERM", "remount /sys": "EPERM", "remount /etc/resolv.conf": "EPERM", "umount hidden": "EINVAL",
			"bind below mounts": "EINVAL", "overlay over /": "EINVAL|ENOENT|EPERM", "cgroup2": "EPERM", "devtmpfs": "EPERM",
			"mknod": "EPERM", "handle": "EPERM|ESTALE|EOPNOTSUPP", "store": "", "core_pattern": byRank("EROFS", "EACCES"),
			"remount /proc/sys": byRank("EPERM", "EINVAL"), "sysctl in a new proc": byRank("EPERM", "EACCES|EPERM"),
			"setns pid 1": "EACCES", "tmpfs": "ok",
		})
		if got := lookAt(t, a.dir+"/store", "/proc/sys/kernel/core_pattern"); got != before {
			t.Errorf("the host was\n%s\nand is\n%s", before, got)
		}
	})
}

// probeNested starts the inner probe as root of a new user namespace.
func probeNested(fact func(string, any)) {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), probeEnv+"=inner")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	fact("start", errno(cmd.Run()))
}

func probeInner(fact func(string, any)) {
	arena := os.Getenv("ARENA")
	at := arena + "/work"
	fact("CapEff full", strings.Contains(readText("/proc/self/status"), "CapEff:\t000001ffffffffff"))
	try := func(name, fs, source, target string, flags uintptr, data string) {
		err := unix.Mount(source, target, fs, flags, data)
		fact(name, errno(err))
		if err == nil && target == at {
			_ = unix.Unmount(at, unix.MNT_DETACH)
		}
	}
	try("tmpfs", "tmpfs", "tmpfs", at, 0, "")
	try("sysfs", "sysfs", "sysfs", at, 0, "")
	try("devtmpfs", "devtmpfs", "devtmpfs", at, 0, "")
	try("cgroup2", "cgroup2", "cgroup2", at, 0, "")
	try("remount /sys", "", "", "/sys", unix.MS_REMOUNT|unix.MS_BIND, "")
	try("remount /etc/resolv.conf", "", "", "/etc/resolv.conf", unix.MS_REMOUNT|unix.MS_BIND, "")
	try("remount /proc/sys", "", "", "/proc/sys", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	fact("umount hidden", errno(unix.Unmount(arena+"/store", unix.MNT_DETACH)))
	try("bind below mounts", "", arena, at, unix.MS_BIND, "")
	mustInside(os.MkdirAll("/dev/shm/u", 0o700), os.MkdirAll("/dev/shm/w", 0o700))
	try("overlay over /", "overlay", "x", at, 0, "lowerdir=/,upperdir=/dev/shm/u,workdir=/dev/shm/w,userxattr")
	fact("mknod", errno(unix.Mknod("/dev/shm/d", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))))
	root, _ := unix.Open("/etc/resolv.conf", unix.O_RDONLY, 0)
	_, err := unix.OpenByHandleAt(root, unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0}), unix.O_RDONLY) // inode 2: a root directory
	fact("handle", errno(err))
	entries, err := os.ReadDir(arena + "/store")
	fact("store", map[bool]string{true: "", false: fmt.Sprint(entries, err)}[err == nil && len(entries) == 0])
	fact("core_pattern", opened("/proc/sys/kernel/core_pattern", unix.O_WRONLY))
	fact("setns pid 1", errno(setns("/proc/1/ns/mnt", unix.CLONE_NEWNS)))
	answer := errno(unix.Mount("proc", at, "proc", 0, ""))
	if answer == "ok" {
		answer = opened(at+"/sys/kernel/core_pattern", unix.O_WRONLY)
		_ = unix.Unmount(at, unix.MNT_DETACH)
	}
	fact("sysctl in a new proc", answer)
}

// mustInside ends the probe on an error.
func mustInside(errs ...error) {
	for _, err := range errs {
		if err != nil {
			panic(err)
		}
	}
}
