// Package cgroup makes, limits, measures and removes the cgroup of a world.
//
// It uses only version 2, wherever it is mounted: at /sys/fs/cgroup, or beside version 1 at
// /sys/fs/cgroup/unified. A [Group] is one directory; the supervisor is never in it, so it can
// always be removed. Callers decide whether a missing cgroup matters.
//
// The files are read and written by hand: containerd/cgroups would make the program 5.1 MB larger.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
)

// Subtree is the directory below which all groups of substrate lie.
const Subtree = "substrate"

// Controllers are those that a world wants.
var Controllers = []string{"pids", "cpu", "memory"}

// mounts are the places where cgroup2 is looked for, in this order.
var mounts = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

// Mount returns where cgroup2 is mounted. It checks the type of the file system: on a hybrid
// machine /sys/fs/cgroup is a tmpfs in which mkdir succeeds and has no effect. The error wraps
// [probe.ErrUnsupported].
//
// Source: statfs(2), CGROUP2_SUPER_MAGIC.
func Mount() (string, error) {
	for _, dir := range mounts {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", &probe.Error{What: "find cgroup v2", Err: errors.New("no cgroup2 file system is mounted"), Remedy: "mount -t cgroup2 none /sys/fs/cgroup"}
}

// Parent returns the directory in which [New] makes groups: below the mount for root, below the
// caller's own delegated group for a user. It does not make it. The error wraps
// [probe.ErrUnsupported].
func Parent(root bool) (string, error) {
	mount, err := Mount()
	if err != nil {
		return "", err
	}
	if root {
		return filepath.Join(mount, Subtree), nil
	}
	own, err := groupOf("self")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(mount, own)
	// To move a process between groups takes write access to their common ancestor.
	// Source: cgroup-v2.rst, "Delegation Containment".
	for _, p := range []string{dir, filepath.Join(dir, "cgroup.procs")} {
		if err := unix.Access(p, unix.W_OK); err != nil {
			return "", &probe.Error{What: "use the cgroup " + dir, Err: err, Remedy: "run below a delegated cgroup: systemd-run --user --scope -p Delegate=yes …"}
		}
	}
	return filepath.Join(dir, Subtree), nil
}

// Group is one cgroup.
type Group struct {
	Path    string
	Missing []string // controllers that are not available
	fd      int
}

// New makes the group dir, and its parent where that is missing. It fails if the
// group exists already.
func New(dir string) (*Group, error) {
	parent := filepath.Dir(dir)
	err := unix.Mkdir(dir, 0o755)
	if errors.Is(err, unix.ENOENT) {
		if err = unix.Mkdir(parent, 0o755); err == nil || errors.Is(err, unix.EEXIST) {
			enable(filepath.Dir(parent))
			enable(parent)
			err = unix.Mkdir(dir, 0o755)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make cgroup %s: %w", dir, err)
	}
	g, err := openGroup(dir)
	if err != nil {
		_ = unix.Rmdir(dir)
		return nil, err
	}
	return g, nil
}

// openGroup opens an existing group and finds out which controllers it has.
func openGroup(dir string) (*Group, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup %s: %w", dir, err)
	}
	g := &Group{Path: dir, fd: fd}
	have := g.read("cgroup.controllers")
	for _, c := range Controllers {
		if !hasWord(have, c) {
			g.Missing = append(g.Missing, c)
		}
	}
	return g, nil
}

// groupOf is the path of a process's group in the cgroup2 hierarchy; pid may be "self".
//
// Source: cgroups(7), "/proc/pid/cgroup".
func groupOf(pid string) (string, error) {
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", fmt.Errorf("find the cgroup of a process: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return path, nil
		}
	}
	return "", &probe.Error{What: "find the cgroup of a process", Err: errors.New("no cgroup2 entry in /proc/" + pid + "/cgroup")}
}

// enable switches the controllers on for the children of dir, one by one because a missing one
// would make the kernel refuse them all. Those that fail are in Group.Missing.
//
// It does nothing in a group that has processes itself, as that of a user's shell does: the kernel
// would refuse memory and accept pids and cpu, and then no process could enter the groups below
// (EOPNOTSUPP). The root of the hierarchy is exempt.
//
// Source: cgroup-v2.rst, "No Internal Process Constraint" and "Threads".
func enable(dir string) {
	if _, err := os.Stat(filepath.Join(dir, "cgroup.type")); err == nil {
		if procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); err != nil || len(procs) > 0 {
			return
		}
	}
	for _, c := range Controllers {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0)
	}
}

func hasWord(text []byte, word string) bool {
	for _, f := range bytes.Fields(text) {
		if string(f) == word {
			return true
		}
	}
	return false
}

// FD is the descriptor of the group's directory, for CLONE_INTO_CGROUP. It belongs to the group.
func (g *Group) FD() int { return g.fd }

// Add moves the process pid into the group.
func (g *Group) Add(pid int) error {
	if err := os.WriteFile(filepath.Join(g.Path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("enter cgroup: %w", err)
	}
	return nil
}

// Usage is what the processes of a group have consumed. A value that no controller counted is 0.
type Usage struct {
	CPU        time.Duration // processor time; counted without any controller
	MemoryPeak int64         // bytes (Linux 5.19)
	OOMKills   int
}

// Usage reads the group's counters.
//
// Source: cgroup-v2.rst, "CPU Interface Files" and "Memory Interface Files".
func (g *Group) Usage() Usage {
	u := Usage{CPU: time.Duration(field(g.read("cpu.stat"), "usage_usec")) * time.Microsecond}
	if slices.Contains(g.Missing, "memory") {
		return u
	}
	u.MemoryPeak, _ = strconv.ParseInt(string(bytes.TrimSpace(g.read("memory.peak"))), 10, 64)
	u.OOMKills = int(field(g.read("memory.events"), "oom_kill"))
	return u
}

// field is the number after name in a file of lines "name number"; 0 without one.
func field(text []byte, name string) int64 {
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(line, name+" "); ok {
			v, _ := strconv.ParseInt(strings.TrimSpace(n), 10, 64)
			return v
		}
	}
	return 0
}

// read returns the content of a small file of the group; nothing if it cannot be read.
func (g *Group) read(name string) []byte {
	fd, err := unix.Openat(g.fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	buf := make([]byte, 4096)
	n, _ := unix.Read(fd, buf)
	_ = unix.Close(fd)
	return buf[:max(n, 0)]
}

// Close kills what runs in the group and removes it. It is safe to call twice.
func (g *Group) Close() error {
	if g.fd >= 0 {
		_ = unix.Close(g.fd)
		g.fd = -1
	}
	return Remove(g.Path)
}
