package testenv

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// leakLimit is how long Leaks waits: the kernel frees some things late, and tests of other packages
// may have some at the same moment. What is there afterwards is a leak.
const leakLimit = 5 * time.Second

// Leaks makes the test fail if it leaves something behind from here on: a mount, a named network
// namespace, a cgroup below one named substrate, an entry of /run/substrate, /var/lib/substrate or
// one of dirs, a process below this one, the network namespace of such a process, or an open file
// descriptor. The test's process adopts orphans, so that none can hide. Call Leaks before anything
// that registers clean-up.
func Leaks(t testing.TB, dirs ...string) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatalf("adopt orphans: %v", err)
	}
	dirs = append([]string{"/run/substrate", "/var/lib/substrate"}, dirs...)
	before := takeSnapshot(dirs)
	t.Cleanup(func() {
		t.Helper()
		for _, line := range waitForLeaks(before, dirs, leakLimit) {
			t.Errorf("left behind: %s", line)
		}
	})
}

// snapshot is a set of things that exist, each named in one line.
type snapshot map[string]bool

// waitForLeaks returns what is there and was not there before, sorted. It returns as soon as there
// is nothing, or after limit.
func waitForLeaks(before snapshot, dirs []string, limit time.Duration) []string {
	var left snapshot
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		left = left.stillIn(takeSnapshot(dirs).without(before))
		if len(left) == 0 || time.Now().After(deadline) {
			break
		}
	}
	lines := make([]string, 0, len(left))
	for line := range left {
		lines = append(lines, line)
	}
	sort.Strings(lines)
	return lines
}

// without returns what is in s and not in other.
func (s snapshot) without(other snapshot) snapshot {
	rest := snapshot{}
	for line := range s {
		if !other[line] {
			rest[line] = true
		}
	}
	return rest
}

// stillIn returns what is in s and in later; a nil s holds everything. What comes and goes
// meanwhile is not the test's.
func (s snapshot) stillIn(later snapshot) snapshot {
	if s == nil {
		return later
	}
	rest := snapshot{}
	for line := range s {
		if later[line] {
			rest[line] = true
		}
	}
	return rest
}

// takeSnapshot looks at everything that Leaks knows.
func takeSnapshot(dirs []string) snapshot {
	s := snapshot{}
	s.mounts()
	s.names("named network namespace", "/run/netns")
	s.cgroups()
	for _, dir := range dirs {
		s.tree(dir)
	}
	s.processes()
	s.descriptors()
	return s
}

// add adds a line.
func (s snapshot) add(format string, args ...any) { s[fmt.Sprintf(format, args...)] = true }

// mounts adds the mounts of this namespace.
func (s snapshot) mounts() {
	for _, line := range readLines("/proc/self/mountinfo") {
		s.add("mount %s", line)
	}
}

// names adds the entries of a directory.
func (s snapshot) names(what, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		s.add("%s %s", what, entry.Name())
	}
}

// tree adds all paths below dir.
func (s snapshot) tree(dir string) {
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != dir {
			s.add("file %s", path)
		}
		return nil // what vanishes or cannot be read is no leak of ours
	})
}

// cgroups adds the groups below one named substrate in every cgroup2 hierarchy that is mounted.
func (s snapshot) cgroups() {
	for _, line := range readLines("/proc/self/mountinfo") {
		left, right, _ := strings.Cut(line, " - ")
		fields := strings.Fields(left)
		if !strings.HasPrefix(right, "cgroup2 ") || len(fields) < 5 {
			continue
		}
		_ = filepath.WalkDir(fields[4], func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() && strings.Contains(filepath.Dir(path)+"/", "/substrate") {
				s.add("cgroup %s", path)
			}
			return nil
		})
	}
}

// processes adds every living process below this one and its network namespace, but no zombies:
// most are orphans that this process adopted, and reaping them here could take a child from a test
// that runs in parallel.
func (s snapshot) processes() {
	parents := map[int]int{}
	states := map[int]string{}
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		pid, parent, state := readStat(path)
		parents[pid], states[pid] = parent, state
	}
	self := os.Getpid()
	for pid, state := range states {
		if state == "Z" || !below(parents, pid, self) {
			continue
		}
		proc := "/proc/" + strconv.Itoa(pid)
		name, _ := os.ReadFile(proc + "/comm")
		s.add("process %d (%s)", pid, strings.TrimSpace(string(name)))
		if ns, err := os.Readlink(proc + "/ns/net"); err == nil {
			s.add("network namespace %s of process %d", ns, pid)
		}
	}
}

// readStat returns pid, parent and state from a stat file of proc(5), zero values if the process is
// gone.
func readStat(path string) (pid, parent int, state string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, ""
	}
	head, tail, _ := strings.Cut(string(b), " ")
	fields := strings.Fields(tail[strings.LastIndexByte(tail, ')')+1:])
	if len(fields) < 2 {
		return 0, 0, ""
	}
	pid, _ = strconv.Atoi(head)
	parent, _ = strconv.Atoi(fields[1])
	return pid, parent, fields[0]
}

// below reports whether ancestor is among the ancestors of pid.
func below(parents map[int]int, pid, ancestor int) bool {
	for range len(parents) {
		parent, known := parents[pid]
		if !known {
			return false
		}
		if parent == ancestor {
			return true
		}
		pid = parent
	}
	return false
}

// descriptors adds the open files of this process, but not those that the Go runtime opens at any
// time.
func (s snapshot) descriptors() {
	const dir = "/proc/self/fd"
	d, err := os.Open(dir)
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		target, err := os.Readlink(filepath.Join(dir, name))
		if err != nil || name == strconv.Itoa(int(d.Fd())) {
			continue
		}
		if target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]" {
			continue
		}
		if target == "/memfd:substrate (deleted)" {
			continue // the copy of the test that package boot executes and keeps
		}
		s.add("file descriptor %s: %s", name, target)
	}
}

// readLines returns the lines of a file, nothing if it cannot be read.
func readLines(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}
