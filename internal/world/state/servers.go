package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// endServers kills the processes that serve uppers below dir. They die with their supervisor. One
// is left only if the supervisor was killed between the fork of a server and its first steps.
func endServers(dir string) error {
	proc, err := os.Open("/proc")
	if err != nil {
		return err
	}
	names, err := proc.Readdirnames(-1)
	_ = proc.Close()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || !serves(name, dir) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it has ended
		}
		if serves(name, dir) { // still the same process
			if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("end process %d: %w", pid, err))
			}
		}
		_ = unix.Close(fd)
	}
	return errors.Join(errs...)
}

// serves reports whether a process is fuse-overlayfs with an upper below dir.
func serves(pid, dir string) bool {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if err != nil {
		return false
	}
	args := bytes.Split(text, []byte{0})
	if filepath.Base(string(args[0])) != "fuse-overlayfs" {
		return false
	}
	for _, arg := range args[1:] {
		if strings.Contains(string(arg), "upperdir="+dir+"/") {
			return true
		}
	}
	return false
}
