package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killTimeout bounds the wait for the end of killed processes. A process in an uninterruptible
// wait, such as for a dead NFS server, can take forever.
const killTimeout = 5 * time.Second

// Remove kills every process in the group dir and in the groups below it, waits until they have
// ended, and removes the directories. It is no error if there is no such group. Remove never
// touches anything but cgroup2 directories.
//
// Source: cgroup-v2.rst, "cgroup.kill" (Linux 5.14) and "cgroup.events".
func Remove(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return fmt.Errorf("remove cgroup %s: not a cgroup2 directory", dir)
	}
	if err := kill(dir); err != nil {
		return fmt.Errorf("kill the processes of %s: %w", dir, err)
	}
	if err := waitEmpty(dir); err != nil {
		return err
	}
	return removeTree(dir)
}

func kill(dir string) error {
	err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, os.ErrNotExist) {
		err = killFrozen(dir)
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil // systemd removes the group of an empty scope by itself
	}
	return err
}

// killFrozen is for Linux before 5.14. It stops the processes first, so that none can fork
// meanwhile.
func killFrozen(dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("1"), 0); err != nil {
		return err
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		text, err := os.ReadFile(path)
		for pid := range strings.FieldsSeq(string(text)) {
			if n, convErr := strconv.Atoi(pid); convErr == nil {
				err = errors.Join(err, ignoreGone(unix.Kill(n, unix.SIGKILL)))
			}
		}
		return err
	})
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte("0"), 0))
}

func ignoreGone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// waitEmpty waits until cgroup.events says that no process is left. The kernel reports each change
// of that file to poll as POLLPRI.
func waitEmpty(dir string) error {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch cgroup %s: %w", dir, err)
	}
	defer func() { _ = f.Close() }()
	deadline := time.Now().Add(killTimeout)
	buf := make([]byte, 256)
	for {
		n, err := f.ReadAt(buf, 0)
		if errors.Is(err, unix.ENODEV) || strings.Contains(string(buf[:n]), "populated 0") {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("cgroup %s still has processes %s after they were killed", dir, killTimeout)
		}
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(fds, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("watch cgroup %s: %w", dir, err)
		}
	}
}

// removeTree removes dir and the groups that a command may have made below it. It removes only
// directories: the files of a cgroup go with it.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeTree(filepath.Join(dir, e.Name())))
		}
	}
	if rmErr := unix.Rmdir(dir); rmErr != nil && !errors.Is(rmErr, unix.ENOENT) {
		err = errors.Join(err, fmt.Errorf("remove cgroup %s: %w", dir, rmErr))
	}
	return err
}
