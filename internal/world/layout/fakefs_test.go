package layout

import (
	"fmt"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// fakeFS holds the files of a machine, read from a text. Its lines are
//
//	d 0755 0 /etc           directory, mode, owner (group is the same)
//	f 0644 0 120 /etc/x     file with its size
//	l /bin usr/bin          symlink
//	s /x, p 0600 0 /x       socket, fifo
//
// Missing directories get mode 0755 and owner 0. Questions about forbidden paths fail the test.
type fakeFS struct {
	t         reporter
	uid       int
	stats     map[string]Stat
	links     map[string]string
	forbidden []string // remote paths, which must not be asked about
}

func newFakeFS(t reporter, uid int, tree string) *fakeFS {
	f := &fakeFS{t: t, uid: uid, stats: map[string]Stat{}, links: map[string]string{}}
	f.dir("/")
	for line := range strings.Lines(tree) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		w := strings.Fields(line)
		switch w[0] {
		case "d":
			f.put(w[3], Stat{Mode: syscall.S_IFDIR | octal(w[1]), UID: number(w[2]), GID: number(w[2])})
		case "f":
			f.put(w[4], Stat{Mode: syscall.S_IFREG | octal(w[1]), UID: number(w[2]), GID: number(w[2]), Size: int64(number(w[3]))})
		case "p":
			f.put(w[3], Stat{Mode: syscall.S_IFIFO | octal(w[1]), UID: number(w[2]), GID: number(w[2])})
		case "s":
			f.put(w[1], Stat{Mode: syscall.S_IFSOCK | 0o777})
		case "l":
			f.put(w[1], Stat{Mode: syscall.S_IFLNK | 0o777})
			f.links[w[1]] = w[2]
		default:
			t.Fatalf("tree: cannot read line %q", line)
		}
	}
	return f
}

// reporter is the common part of [testing.T] and [rapid.T].
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

func octal(s string) uint32 {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		panic(err)
	}
	return uint32(n)
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func (f *fakeFS) put(name string, st Stat) {
	f.dir(path.Dir(name))
	f.stats[name] = st
}

// dir makes a directory and those above it, unless they exist.
func (f *fakeFS) dir(name string) {
	if _, there := f.stats[name]; there {
		return
	}
	if name != "/" {
		f.dir(path.Dir(name))
	}
	f.stats[name] = Stat{Mode: syscall.S_IFDIR | 0o755}
}

// addMounts makes the mount points, and forbids questions about remote ones and what is below them.
func (f *fakeFS) addMounts(root *node) {
	root.walk(func(n *node) {
		f.dir(n.path)
		if n.class() == remote {
			f.forbidden = append(f.forbidden, n.path)
		}
	})
}

func (f *fakeFS) check(what, name string) {
	f.t.Helper()
	for _, dir := range f.forbidden {
		if within(name, dir) {
			f.t.Errorf("%s(%s) asks a file system that may hang", what, name)
		}
	}
}

func (f *fakeFS) Lstat(name string) (Stat, error) {
	f.check("Lstat", name)
	if st, there := f.stats[name]; there && f.reachable(name) {
		return st, nil
	}
	return Stat{}, os.ErrNotExist
}

// reachable reports whether the caller may search all directories on the way.
func (f *fakeFS) reachable(name string) bool {
	for name != "/" {
		name = path.Dir(name)
		if f.mode(name)&1 == 0 {
			return false
		}
	}
	return true
}

// mode returns the caller's permissions for the file alone.
func (f *fakeFS) mode(name string) uint32 {
	st := f.stats[name]
	switch {
	case f.uid == 0:
		return 7
	case st.UID == f.uid:
		return st.Mode >> 6 & 7
	default:
		return st.Mode & 7
	}
}

func (f *fakeFS) Rights(name string) uint32 {
	f.check("Rights", name)
	if _, there := f.stats[name]; !there || !f.reachable(name) {
		return 0
	}
	return f.mode(name)
}

func (f *fakeFS) ReadDir(name string) ([]Entry, error) {
	f.check("ReadDir", name)
	if f.Rights(name)&4 == 0 {
		return nil, os.ErrPermission
	}
	var entries []Entry
	for other, st := range f.stats {
		if other != "/" && path.Dir(other) == name {
			entries = append(entries, Entry{Name: path.Base(other), Type: st.Mode & syscall.S_IFMT})
		}
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	return entries, nil
}

func (f *fakeFS) IsEmpty(name string) bool {
	entries, err := f.ReadDir(name)
	return err == nil && len(entries) == 0
}

func (f *fakeFS) Readlink(name string) (string, error) {
	f.check("Readlink", name)
	if text, there := f.links[name]; there {
		return text, nil
	}
	return "", fmt.Errorf("readlink %s: %w", name, syscall.EINVAL)
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
