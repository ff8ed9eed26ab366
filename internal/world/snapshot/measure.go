package snapshot

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/world/tree"
)

// treeSize is the size of a tree.
type treeSize struct {
	bytes   int64 // on disk; a file with several names counts once
	entries int64
	clones  bool // the tree and its copy can share contents
}

// measurer is one walk that adds up the size of a tree.
type measurer struct {
	c       *copier
	bytes   atomic.Int64
	entries atomic.Int64
	queue   *tree.Queue[measureTask]

	mu     sync.Mutex
	seen   map[tree.Inode]bool // files with several names
	sample *tree.Dir           // holds a regular file that is not empty; nil if none was found
	name   string              // its name
}

// measureTask is a directory to measure.
type measureTask struct {
	parent    *tree.Dir
	rel, name string
}

// measure returns the size of the tree. The error says that it is more than is allowed, or than
// there is room for.
func (c *copier) measure() (treeSize, error) {
	m := &measurer{c: c, seen: make(map[tree.Inode]bool)}
	m.queue = tree.NewQueue(c.opts.Workers, 1, m.look)
	m.queue.Run(measureTask{parent: c.root.Hold(), name: "."})
	defer tree.Release(m.sample)
	size := treeSize{bytes: m.bytes.Load(), entries: m.entries.Load()}
	if err := c.ctx.Err(); err != nil {
		return size, err
	}
	if limit := c.opts.Max; limit > 0 && size.bytes > limit {
		return size, &probe.Error{
			What:   "keep to --copy-max",
			Err:    fmt.Errorf("it takes %s in %d files, and the limit is %s", bytesText(size.bytes), size.entries, bytesText(limit)),
			Remedy: "raise --copy-max, or run the command in a smaller directory",
		}
	}
	size.clones = m.clones()
	c.contents.NoClone.Store(!size.clones)
	return size, c.checkRoom(size)
}

// checkRoom compares the size of the copy with the free space.
func (c *copier) checkRoom(size treeSize) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(c.beside.FD, &st); err != nil {
		return err
	}
	need, room := size.bytes, int64(st.Bavail)*st.Bsize
	if size.clones {
		need = size.entries << 10 // inodes and names only
	}
	var why error
	switch {
	case need > room:
		why = fmt.Errorf("it takes %s in %d files, and there is room for %s", bytesText(need), size.entries, bytesText(room))
	case st.Files > 0 && int64(st.Ffree) < size.entries:
		why = fmt.Errorf("it has %d files, and there is room for %d", size.entries, st.Ffree)
	default:
		return nil
	}
	dir := filepath.Dir(c.dst)
	return &probe.Error{What: "keep it in " + dir, Err: why, Remedy: "free some space there, or choose another place with SUBSTRATE_OVERLAY_ROOT=DIR"}
}

// look adds up one directory.
func (m *measurer) look(t measureTask) {
	defer tree.Release(t.parent)
	if m.c.ctx.Err() != nil {
		return
	}
	d, err := openSourceDir(t.parent, t.name)
	if err != nil {
		return // the copy will report it
	}
	defer tree.Release(d)
	_ = d.Names(func(name string, _ uint64) {
		m.entries.Add(1)
		untouched, leave := m.c.leave[t.rel+"/"+name]
		if untouched {
			return
		}
		var st unix.Stat_t
		if unix.Fstatat(d.FD, name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT) != nil {
			return
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if !leave {
				m.bytes.Add(st.Blocks * 512)
				m.queue.Add(measureTask{d.Hold(), t.rel + "/" + name, name})
			}
		case unix.S_IFREG:
			m.file(d, name, &st)
		}
	})
}

// file adds up a regular file.
func (m *measurer) file(d *tree.Dir, name string, st *unix.Stat_t) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if st.Nlink > 1 {
		if m.seen[tree.InodeOf(st)] {
			return
		}
		m.seen[tree.InodeOf(st)] = true
	}
	if m.sample == nil && st.Size > 0 {
		m.sample, m.name = d.Hold(), name
	}
	m.bytes.Add(st.Blocks * 512)
}

// clones tries whether the copy can share contents with the tree.
func (m *measurer) clones() bool {
	if m.sample == nil {
		return false
	}
	from, err := tree.Openat(m.sample.FD, m.name, 0)
	if err != nil {
		return false
	}
	defer unix.Close(from)
	to, err := unix.Openat(m.c.beside.FD, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return false
	}
	defer unix.Close(to)
	return unix.IoctlFileClone(to, from) == nil
}

// openSourceDir opens a directory of the tree. The error is EXDEV if something is mounted there.
func openSourceDir(parent *tree.Dir, name string) (*tree.Dir, error) {
	fd, err := openSource(parent.FD, name, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return tree.NewDir(fd), nil
}

// openSource opens a file of the tree for reading. It does not follow a symlink, enter another
// mount (EXDEV) or wait for a fifo, and leaves the access time alone if the caller may do that.
//
// Source: openat2(2), RESOLVE_NO_XDEV (Linux 5.6).
func openSource(dirfd int, name string, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY
	how := unix.OpenHow{Flags: uint64(flags | unix.O_NOATIME), Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := tree.Retry(func() (int, error) { return unix.Openat2(dirfd, name, &how) })
	if errors.Is(err, unix.EPERM) { // O_NOATIME is for the owner
		how.Flags = uint64(flags)
		fd, err = tree.Retry(func() (int, error) { return unix.Openat2(dirfd, name, &how) })
	}
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return openSourceOld(dirfd, name, flags) // an older kernel, or a filter refuses openat2
	}
	return fd, err
}

// openSourceOld is openSource without openat2(2). It does not notice a bind mount of the same file
// system.
func openSourceOld(dirfd int, name string, flags int) (int, error) {
	var parent, st unix.Stat_t
	if err := unix.Fstat(dirfd, &parent); err != nil {
		return -1, err
	}
	fd, err := tree.Openat(dirfd, name, flags)
	if err != nil {
		return -1, err
	}
	if err = unix.Fstat(fd, &st); err == nil && st.Dev != parent.Dev {
		err = unix.EXDEV
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bytesText writes a number of bytes for people.
func bytesText(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return strconv.FormatFloat(value, 'f', 1, 64) + " " + units[unit:unit+1] + "iB"
}
