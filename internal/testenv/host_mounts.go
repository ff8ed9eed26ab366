package testenv

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arrange makes the file system of the host. It runs as root, in a mount namespace of the test.
func (h *Host) arrange(t *testing.T) {
	t.Helper()
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for range h.Overlays {
		if err := coverRoot(); err != nil {
			t.Fatalf("put an overlay below /: %v", err)
		}
	}
	if h.WithoutFuse {
		if err := devWithoutFuse(); err != nil {
			t.Fatalf("make a /dev without fuse: %v", err)
		}
	}
	if h.OpenFuse {
		if err := openFuse(); err != nil {
			t.Fatalf("make a /dev/fuse for everybody: %v", err)
		}
	}
	if h.FullTmp {
		if err := fullTmp(); err != nil {
			t.Fatalf("fill /tmp: %v", err)
		}
	}
	err = os.Chdir(cwd)
	if errors.Is(err, os.ErrNotExist) { // the source is below /tmp, which is covered now
		err = os.Chdir("/")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// coverRoot makes an overlay of "/" the new root, as in a container: with /sys and /dev of the
// machine, and a /run of its own. The upper lies in a /run that is hidden afterwards, so nothing
// is left.
func coverRoot() error {
	if err := freshRun("/run"); err != nil {
		return err
	}
	for _, dir := range []string{"/run/upper", "/run/work", "/run/root"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	const root = "/run/root"
	if err := unix.Mount("overlay", root, "overlay", 0, "lowerdir=/,upperdir=/run/upper,workdir=/run/work"); err != nil {
		return &os.PathError{Op: "mount overlay", Path: root, Err: err}
	}
	if err := freshRun(root + "/run"); err != nil {
		return err
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if err := unix.Mount(dir, root+dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return &os.PathError{Op: "bind", Path: root + dir, Err: err}
		}
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	// Source: pivot_root(2), "pivot_root(".", ".")".
	return errors.Join(unix.PivotRoot(".", "."), unix.Unmount(".", unix.MNT_DETACH), unix.Chdir("/"))
}

// freshRun mounts a tmpfs with what tests expect of a /run.
func freshRun(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		return &os.PathError{Op: "mount tmpfs", Path: dir, Err: err}
	}
	lock := filepath.Join(dir, "lock")
	return errors.Join(os.Mkdir(filepath.Join(dir, "netns"), 0o755), os.Mkdir(lock, 0o755), unix.Chmod(lock, 0o1777))
}

// devWithoutFuse replaces /dev by one with the devices of a container.
func devWithoutFuse() error {
	if err := unix.Mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		f, err := os.Create("/mnt/" + name)
		if err == nil {
			err = errors.Join(f.Close(), unix.Mount("/dev/"+name, "/mnt/"+name, "", unix.MS_BIND, ""))
		}
		if err != nil {
			return err
		}
	}
	for _, name := range []string{"pts", "shm"} {
		err := os.Mkdir("/mnt/"+name, 0o755)
		if err == nil && unix.Access("/dev/"+name, unix.F_OK) == nil {
			err = unix.Mount("/dev/"+name, "/mnt/"+name, "", unix.MS_BIND, "")
		}
		if err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, "/mnt/"+name); err != nil {
			return err
		}
	}
	return unix.Mount("/mnt", "/dev", "", unix.MS_MOVE, "")
}

// openFuse covers /dev/fuse with a device node of mode 0666.
func openFuse() error {
	dir := "/dev/shm/substrate-fuse"
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return &os.PathError{Op: "mount tmpfs", Path: dir, Err: err}
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }() // the node stays mounted
	node := dir + "/fuse"
	return errors.Join(unix.Mknod(node, unix.S_IFCHR, int(unix.Mkdev(10, 229))), unix.Chmod(node, 0o666), unix.Mount(node, "/dev/fuse", "", unix.MS_BIND, ""))
}

// fullTmp covers /tmp with a small file system that has no room left.
func fullTmp() error {
	if err := unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "mode=1777,size=64k"); err != nil {
		return err
	}
	err := os.WriteFile("/tmp/full", make([]byte, 1<<20), 0o644)
	if !errors.Is(err, unix.ENOSPC) {
		return errors.Join(errors.New("it takes more than it should"), err)
	}
	return nil
}

// prctlPointer is prctl(2) with a pointer as its third argument.
func prctlPointer(option int, arg2 uintptr, arg3 *unix.SockFprog) error {
	if _, _, errno := unix.Syscall(unix.SYS_PRCTL, uintptr(option), arg2, uintptr(unsafe.Pointer(arg3))); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return nil
}
