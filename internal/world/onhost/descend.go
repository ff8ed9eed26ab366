package onhost

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// signalAll sends a signal to the group of the command and to those of our descendants that left
// the group. Orphans are among them because we are the subreaper.
func signalAll(pid int, s syscall.Signal) {
	_ = syscall.Kill(-pid, s)
	for _, p := range descendants(os.Getpid()) {
		if pgid, err := syscall.Getpgid(p); err == nil && pgid != pid {
			_ = syscall.Kill(p, s)
		}
	}
}

// endDescendants kills what a command left behind, again and again until nothing is left: a process
// that forks all the time must not escape.
func endDescendants(pid int) {
	for range 50 {
		signalAll(pid, syscall.SIGKILL)
		for {
			got, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err != nil || got <= 0 {
				break
			}
		}
		if len(descendants(os.Getpid())) == 0 {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// enter moves the process pid, and what it has started in the meantime, into a cgroup; group is a
// descriptor of its directory.
//
// Source: cgroups(7), "Moving a process": a child starts in the group of its parent.
func enter(group, pid int) error {
	fd, err := unix.Openat(group, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("enter the cgroup: %w", err)
	}
	defer unix.Close(fd)
	moved := map[int]bool{}
	for again := true; again; {
		again = false
		for _, p := range append([]int{pid}, descendants(pid)...) {
			if moved[p] {
				continue
			}
			moved[p], again = true, true
			if _, err := unix.Write(fd, strconv.AppendInt(nil, int64(p), 10)); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("enter the cgroup: %w", err)
			}
		}
	}
	return nil
}

// descendants lists the processes below root that have not ended, parents first.
func descendants(root int) []int {
	children := map[int][]int{}
	for p, parent := range parentTable() {
		children[parent] = append(children[parent], p)
	}
	var out []int
	for queue := children[root]; len(queue) > 0; queue = queue[1:] {
		out = append(out, queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return out
}

// parentTable maps each living process to its parent.
//
// Source: proc_pid_stat(5): the name in parentheses may contain anything, so fields are counted
// from the last closing parenthesis.
func parentTable() map[int]int {
	table := map[int]int{}
	dir, err := os.Open("/proc")
	if err != nil {
		return table
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 2 || fields[0][0] == 'Z' {
			continue
		}
		if parent, err := strconv.Atoi(string(fields[1])); err == nil {
			table[pid] = parent
		}
	}
	return table
}
