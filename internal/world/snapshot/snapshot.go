// Package snapshot copies a tree, and later finds out what was changed in the copy.
//
// The contents are not stored a second time: [Snapshot] remembers the metadata of each entry, and
// reads the original again only if metadata cannot show a change.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/probe"
	"substrate/internal/world/tree"
)

// Options are the options of [Take]. The zero value is good.
type Options struct {
	Max     int64    // limit of the size of the tree on disk, in bytes; 0 for none but the free space
	Skip    []string // absolute paths of directories in the tree whose copies stay empty
	Unasked []string // mount points in the tree that may hang: they are not touched, and their copies stay empty
	Workers int      // 0 means one for each processor

	// NoDevices leaves devices out. Set it if the world has no mounts of its own with nodev: a
	// device node in the copy would give access to the device of the host.
	NoDevices bool

	// Progress is called about ten times a second by the goroutine of Take, with bytes on disk. It
	// may be nil.
	Progress func(done, total int64)
}

// Snapshot is a copy of a tree and the state that each entry had when it was made.
type Snapshot struct {
	Src, Dst string
	Entries  int      // in the copy, without its root
	Bytes    int64    // on disk, of the original
	Cloned   bool     // the file system shared the contents instead of copying them
	Mounts   []string // paths in Src where other file systems are mounted; their copies are empty
	Notes    []string // what could not be copied exactly, for the user

	src   *tree.Dir
	root  *entry
	times bool // an entry with its old ctime was not changed
}

// ErrHoldsScratch is wrapped by the error about a tree that contains the directory of its own copy.
var ErrHoldsScratch = errors.New("it contains the directory that the copy would be in")

// Take copies the tree below src to dst, which must not exist. The directory of dst must exist; it
// is also used while copying. Files share their contents with the originals if the file system
// supports it (FICLONE); else they are copied with their holes. Hard links, modes, times, owners,
// extended attributes and special files are kept as far as the caller's rights allow. Symlinks are
// not followed and other file systems are not entered, so a tree that changes meanwhile cannot lead
// elsewhere.
//
// Take checks that the copy fits before it writes. The error is about a tree that does not fit (a
// [probe.Error]), that contains dst ([ErrHoldsScratch]), or that could not be copied. On error the
// caller removes what was made; else it must call [Snapshot.Close].
//
// Source: ioctl_ficlone(2); copy_file_range(2); lseek(2), SEEK_DATA; openat2(2), RESOLVE_NO_XDEV.
func Take(ctx context.Context, src, dst string, o Options) (*Snapshot, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	c := &copier{ctx: ctx, opts: o, src: src, dst: dst, uid: os.Geteuid(), gid: os.Getegid(), leave: make(map[string]bool), links: make(map[tree.Inode]*linked)}
	c.queue = tree.NewQueue(o.Workers, 1, c.do)
	base := strings.TrimRight(src, "/")
	for _, path := range o.Skip {
		c.leave[strings.TrimPrefix(strings.TrimRight(path, "/"), base)] = false
	}
	for _, path := range o.Unasked {
		c.leave[strings.TrimPrefix(strings.TrimRight(path, "/"), base)] = true
	}
	s, err := c.run()
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", fsdiff.Escape(src), err)
	}
	return s, nil
}

// Close closes the original. The copy stays.
func (s *Snapshot) Close() error {
	tree.Release(s.src)
	s.src = nil
	return nil
}

// copier is one call of Take.
type copier struct {
	ctx      context.Context
	opts     Options
	src, dst string
	uid, gid int
	leave    map[string]bool // paths below src, with a slash at the start, whose copies stay empty; true: do not touch
	root     *tree.Dir       // src
	beside   *tree.Dir       // the directory that dst is in
	staging  *tree.Dir       // has a name for each file with several names; see link
	done     atomic.Int64
	contents tree.Copier
	queue    *tree.Queue[copyTask]
	links    map[tree.Inode]*linked // guarded by mu
	losses
}

// losses is what could not be copied.
type losses struct {
	mu     sync.Mutex // guards all
	mounts []string
	lost   [lossKinds]loss
	err    error // ends the copy
}

// linked is a file with several names.
type linked struct {
	mu     sync.Mutex // held while the first name is copied
	made   bool
	serial int      // its name in staging
	names  []*entry // of all names that were made
}

// stagingSuffix is added to the path of the copy for the staging directory.
const stagingSuffix = ".links"

// run makes the copy.
func (c *copier) run() (*Snapshot, error) {
	var err error
	if c.root, err = tree.Open(c.src); err != nil {
		return nil, err
	}
	defer tree.Release(c.root)
	if c.beside, err = tree.Open(filepath.Dir(c.dst)); err != nil {
		return nil, err
	}
	defer tree.Release(c.beside)
	if err := c.holdsScratch(); err != nil {
		return nil, err
	}
	size, err := c.measure()
	if err != nil {
		return nil, err
	}
	root, err := c.copyAll(size.bytes)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{
		Src: c.src, Dst: c.dst, Entries: root.rec.tidy(), Bytes: size.bytes, Cloned: size.clones && !c.contents.NoClone.Load(),
		Mounts: c.mounts, src: c.root.Hold(), root: root, Notes: c.notes(),
	}
	if s.times, err = changesShow(c.beside, max(root.ctime, root.rec.newest())); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// copyAll copies everything, total bytes, and returns the entry of the root.
func (c *copier) copyAll(total int64) (*entry, error) {
	top, err := c.begin()
	defer func() { tree.Release(c.staging) }()
	if err != nil {
		return nil, err
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		c.queue.Run()
	}()
	c.watch(finished, total)
	err = c.err
	if err == nil {
		err = c.ctx.Err()
	}
	if err == nil {
		err = c.unstage()
	}
	if err = errors.Join(err, removeStaging(c.dst+stagingSuffix)); err != nil {
		return nil, err
	}
	return top.entry, nil
}

// watch calls Progress until finished is closed.
func (c *copier) watch(finished <-chan struct{}, total int64) {
	if c.opts.Progress == nil {
		<-finished
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			c.opts.Progress(total, total)
			return
		case <-tick.C:
			c.opts.Progress(min(c.done.Load(), total), total)
		}
	}
}

// stopped reports whether the rest need not be done.
func (c *copier) stopped() bool {
	if c.ctx.Err() != nil {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// fail keeps the first error.
func (c *copier) fail(rel, name string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = fmt.Errorf("%s: %w", fsdiff.Escape(strings.TrimPrefix(rel+"/"+name, "/")), err)
	}
}

// The kinds of losses in a copy.
const (
	lostContent = iota
	lostOwner
	lostXattrs
	lostDevice
	lostMount
	lossKinds
)

// loss says how often something of a kind was lost, and where first.
type loss struct {
	count int
	first string
}

// lose notes that an entry could not be copied exactly.
func (c *copier) lose(kind int, rel, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost[kind].count == 0 {
		c.lost[kind].first = c.src + rel + "/" + name
	}
	c.lost[kind].count++
}

var lossText = [lossKinds]string{
	lostContent: "could not be read; it is empty and unreadable in the copy",
	lostOwner:   "belongs to another user; its copy belongs to you",
	lostXattrs:  "has extended attributes that could not be copied",
	lostDevice:  "is a device; only root can copy devices, and only into a world with its own mounts",
	lostMount:   "is on another file system, which was not copied",
}

// notes lists the losses for the user.
func (c *copier) notes() []string {
	var out []string
	for kind, l := range c.lost {
		switch {
		case l.count == 1:
			out = append(out, fmt.Sprintf("%s %s", fsdiff.Escape(l.first), lossText[kind]))
		case l.count > 1:
			out = append(out, fmt.Sprintf("%s %s (and %d other paths)", fsdiff.Escape(l.first), lossText[kind], l.count-1))
		}
	}
	return out
}

// holdsScratch returns an error if the copy would lie in the tree itself. It also notices bind
// mounts and symlinks.
func (c *copier) holdsScratch() error {
	var top, st unix.Stat_t
	if err := unix.Fstat(c.root.FD, &top); err != nil {
		return err
	}
	fd, err := unix.Openat(c.beside.FD, ".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for err == nil {
		last := st
		if err = unix.Fstat(fd, &st); err != nil {
			break
		}
		if st.Dev == top.Dev && st.Ino == top.Ino {
			err = &probe.Error{
				What: "keep it in " + filepath.Dir(c.dst), Err: ErrHoldsScratch,
				Remedy: "run it in a subdirectory, or choose another place with SUBSTRATE_OVERLAY_ROOT=DIR",
			}
			break
		}
		if st.Dev == last.Dev && st.Ino == last.Ino {
			break // the parent of the root is the root
		}
		var up int
		up, err = unix.Openat(fd, "..", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd)
		fd = up
	}
	if fd >= 0 {
		_ = unix.Close(fd)
	}
	return err
}

// removeStaging removes the staging directory.
func removeStaging(path string) error {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		err = errors.Join(err, unix.Unlink(filepath.Join(path, e.Name())))
	}
	return errors.Join(err, unix.Rmdir(path))
}
