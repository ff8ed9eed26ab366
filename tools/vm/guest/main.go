// Guest is the init process of the test machine: it loads modules, enters the disk, runs the jobs
// and switches the machine off. See tools/vm.
//
// It starts in an initramfs that holds only itself and the modules, and moves to a disk, because
// worlds need pivot_root(2), which refuses an initramfs.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"syscall"
	"time"
	"unsafe"

	"substrate/tools/vm/job"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("guest:", err) // to the console
	}
	syscall.Sync()
	_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
}

func run() error {
	if err := mountAll([]mount{{"devtmpfs", "/dev", "devtmpfs", 0, ""}, {"proc", "/proc", "proc", 0, ""}}); err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	list, err := readJobs()
	if err != nil {
		return err
	}
	if err := enterDisk(); err != nil {
		return err
	}
	// The first port of a virtio-serial device: bytes reach the host as they are.
	port, err := waitFor("/dev/vport*")
	if err != nil {
		return err
	}
	line, err := os.OpenFile(port, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for i, j := range list.Jobs {
		fmt.Fprintf(line, "%s%d\n", job.Begin, i)
		status, err := start(j, line)
		if err != nil {
			fmt.Fprintln(line, err)
		}
		fmt.Fprintf(line, "\n%s%d %d\n", job.End, i, status)
	}
	fmt.Fprintf(line, "%s\n", job.Over)
	return line.Close()
}

func readJobs() (job.List, error) {
	var list job.List
	text, err := os.ReadFile(job.ListPath)
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return list, fmt.Errorf("read the list of jobs: %w", err)
	}
	return list, nil
}

type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// mountAll makes the mount points and mounts.
func mountAll(mounts []mount) error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil && !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// loadModules loads the files of dir in the order of their names.
//
// Source: init_module(2), "finit_module()".
func loadModules(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	none := []byte{0}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_, _, errno := syscall.Syscall(sysFinitModule, f.Fd(), uintptr(unsafe.Pointer(&none[0])), 0)
		_ = f.Close()
		if errno != 0 && errno != syscall.EEXIST {
			fmt.Printf("guest: load %s: %v\n", filepath.Base(path), errno)
		}
	}
	return nil
}

// enterDisk makes the disk the root and mounts what a Debian machine has there, with cgroup v2
// alone.
func enterDisk() error {
	const disk = "/disk"
	device, err := waitFor("/dev/vda")
	if err != nil {
		return err
	}
	// The files of the disk belong to whoever made it.
	if err := mountAll([]mount{{device, disk, "ext4", 0, ""}, {"devtmpfs", disk + "/dev", "devtmpfs", 0, ""}}); err != nil {
		return err
	}
	if err := ownAll(disk); err != nil {
		return err
	}
	if err := syscall.Chdir(disk); err != nil {
		return err
	}
	// As switch_root(8) does, but for deleting the initramfs.
	if err := syscall.Mount(".", "/", "", syscall.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the disk to /: %w", err)
	}
	if err := errors.Join(syscall.Chroot("."), syscall.Chdir("/")); err != nil {
		return err
	}
	const quiet = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	err = mountAll([]mount{
		{"proc", "/proc", "proc", quiet, ""},
		{"sysfs", "/sys", "sysfs", quiet, ""},
		{"securityfs", "/sys/kernel/security", "securityfs", quiet, ""},
		{"cgroup2", "/sys/fs/cgroup", "cgroup2", quiet, "nsdelegate"},
		{"devpts", "/dev/pts", "devpts", syscall.MS_NOSUID | syscall.MS_NOEXEC, "ptmxmode=666,mode=620,gid=5"},
		{"tmpfs", "/dev/shm", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=1777"},
		{"tmpfs", "/run", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV, "mode=755"},
	})
	if err != nil {
		return err
	}
	// As systemd does: mounts propagate.
	if err := syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, ""); err != nil {
		return err
	}
	for link, target := range map[string]string{"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1", "/dev/stderr": "/proc/self/fd/2"} {
		_ = os.Symlink(target, link)
	}
	_ = os.Chmod("/dev/fuse", 0o666) // as udev does
	_ = os.WriteFile("/proc/sys/kernel/dmesg_restrict", []byte("0"), 0)
	return errors.Join(userRun(), loopbackUp(), syscall.Sethostname([]byte("vm")))
}

// userRun makes the user's run-time directory.
func userRun() error {
	dir := fmt.Sprintf("/run/user/%d", job.UID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_ = os.Chmod("/run/user", 0o755)
	return os.Chown(dir, job.UID, job.UID)
}

// waitFor waits for a device that the kernel is about to find.
func waitFor(pattern string) (string, error) {
	for range 500 {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0], nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return "", fmt.Errorf("%s does not appear", pattern)
}

// ownAll gives what lies below root to root, and the user's home to the user.
func ownAll(root string) error {
	home := filepath.Join(root, "home/user")
	return filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if path == filepath.Join(root, "dev") {
			return filepath.SkipDir
		}
		owner := 0
		if rel, err := filepath.Rel(home, path); err == nil && filepath.IsLocal(rel) {
			owner = job.UID
		}
		if st := info.Sys().(*syscall.Stat_t); int(st.Uid) == owner && int(st.Gid) == owner {
			return nil
		}
		return os.Lchown(path, owner, owner)
	})
}

// loopbackUp switches lo on.
//
// Source: netdevice(7), SIOCSIFFLAGS.
func loopbackUp() error {
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(s) }()
	var req struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(req.name[:], "lo")
	req.flags = syscall.IFF_UP
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(s), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return fmt.Errorf("switch lo on: %w", errno)
	}
	return nil
}

// start runs one job, reaps everything that ends meanwhile, and returns the exit status as a shell
// gives it.
//
// The job prints to a pipe: a job that is killed may leave processes, and those must not write
// between the lines of the next one.
func start(j job.Job, line *os.File) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 125, err
	}
	defer func() { _ = null.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		return 125, err
	}
	attr := &syscall.ProcAttr{Dir: j.Dir, Env: j.Env, Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}}
	if j.User {
		attr.Sys.Credential = &syscall.Credential{Uid: job.UID, Gid: job.UID}
	}
	pid, err := syscall.ForkExec(j.Argv[0], j.Argv, attr)
	_ = w.Close()
	if err != nil {
		_ = r.Close()
		return 125, fmt.Errorf("start %s: %w", j.Argv[0], err)
	}
	copied := make(chan struct{})
	go func() { _, _ = line.ReadFrom(r); close(copied) }()
	status := reap(pid)
	select {
	case <-copied:
	case <-time.After(2 * time.Second):
	}
	_ = r.Close()
	return status, nil
}

// reap waits for pid, and for every orphan that ends before it.
func reap(pid int) int {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 125
		case got != pid:
		case ws.Signaled():
			return 128 + int(ws.Signal())
		default:
			return ws.ExitStatus()
		}
	}
}
