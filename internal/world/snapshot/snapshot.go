// Package snapshot copies a tree, and finds out later what was changed in the copy.
//
// The copy has no second copy of the contents: [Snapshot] remembers the metadata of each entry, and
// the original is read again only where metadata cannot show a change.
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

// Options says how a tree is copied. The zero value is good.
type Options struct {
	Max     int64    // bytes on disk that the tree may have; 0 for no limit but the free space
	Skip    []string // absolute paths in the tree of which only an empty directory is made
	Unasked []string // mount points in the tree that are not even looked at, because they may hang; of these too
	Workers int      // 0 means one for each core

	// NoDevices leaves devices out. Where nothing keeps a device node in the copy from being opened, it is the host's device.
	NoDevices bool

	// Progress is called now and then from the goroutine of Take, with bytes on disk. It may be nil.
	Progress func(done, total int64)
}

// Snapshot is a copy of a tree and the memory of how it was: what is in the copy later, compared with that, is
// what was changed in it. It has no second copy of the contents; where only they can tell, the original
// is read once more.
type Snapshot struct {
	Src, Dst string
	Entries  int      // in the copy, its root not counted
	Bytes    int64    // on disk, of the original
	Cloned   bool     // the file system shared the contents instead of copying them
	Mounts   []string // paths in Src where other file systems are mounted; the copy has something empty there
	Notes    []string // what could not be copied as it was, for the user

	src   *tree.Dir
	root  *entry
	times bool // what has the ctime that it had was not changed
}

// ErrHoldsScratch is wrapped by the error about a tree that contains the place of its own copy.
var ErrHoldsScratch = errors.New("it contains the directory that the copy would be in")

// Take copies the tree below src to dst, which must not exist; the directory that dst will be in must, and is also used while
// copying. Contents are shared where the file system can (FICLONE) and else copied with their holes; hard links, modes, times, owners,
// extended attributes and special files are kept as far as the caller may. Symlinks are never followed, and other file systems in the
// tree are not entered, so a tree that changes meanwhile cannot lead elsewhere.
//
// Before the first byte it is found out whether the copy fits. The error is about a tree that does not fit (a [probe.Error]), that holds
// dst ([ErrHoldsScratch]), or a copy that could not be made; what was made of it is left for the caller to remove. The
// caller must call [Snapshot.Close].
//
// Source: ioctl_ficlone(2); copy_file_range(2); lseek(2), SEEK_DATA; openat2(2), RESOLVE_NO_XDEV.
func Take(ctx context.Context, src, dst string, o Options) (*Snapshot, error) {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	c := &copier{ctx: ctx, opts: o, src: src, dst: dst, uid: os.Geteuid(), gid: os.Getegid(), skip: make(map[string]bool), unasked: make(map[string]bool), links: make(map[tree.Inode]*linked)}
	c.queue = tree.NewQueue(o.Workers, 1, c.do)
	base := strings.TrimRight(src, "/")
	for _, path := range o.Skip {
		c.skip[strings.TrimPrefix(strings.TrimRight(path, "/"), base)] = true
	}
	for _, path := range o.Unasked {
		c.unasked[strings.TrimPrefix(strings.TrimRight(path, "/"), base)] = true
	}
	s, err := c.run()
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", fsdiff.Escape(src), err)
	}
	return s, nil
}

// Close lets go of the original. The copy stays.
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
	skip     map[string]bool // below src, with a slash in front
	unasked  map[string]bool // in the same way
	root     *tree.Dir       // src
	beside   *tree.Dir       // the directory that dst is in
	staging  *tree.Dir       // holds a name of each file that has several; see link
	total    int64
	done     atomic.Int64
	contents tree.Copier
	queue    *tree.Queue[copyTask]

	mu      sync.Mutex // guards what follows
	links   map[tree.Inode]*linked
	mounts  []string
	lost    [lossKinds]loss
	err     error
	entries int
}

// linked is a file with several names.
type linked struct {
	mu     sync.Mutex // held while the first name is made
	made   bool
	serial int      // its name in staging
	names  []*entry // all that were made
}

// stagingSuffix is added to the path of the copy for the directory that is used while copying.
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
	c.total = size.bytes
	root, err := c.copyAll()
	if err != nil {
		return nil, err
	}
	s := &Snapshot{
		Src: c.src, Dst: c.dst, Entries: c.entries, Bytes: size.bytes, Cloned: size.clones && !c.contents.NoClone.Load(),
		Mounts: c.mounts, src: c.root.Hold(), root: root, Notes: c.notes(),
	}
	if s.times, err = timesTell(c.beside, max(root.ctime, root.rec.newest())); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// copyAll copies everything, with progress, and returns the root's entry.
func (c *copier) copyAll() (*entry, error) {
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
	c.watch(finished)
	err = c.err
	if err == nil {
		err = c.ctx.Err()
	}
	if err == nil {
		err = c.settleLinks()
	}
	if err = errors.Join(err, removeStaging(c.dst+stagingSuffix)); err != nil {
		return nil, err
	}
	c.entries = top.entry.rec.tidy()
	return top.entry, nil
}

// watch calls Progress until all is done.
func (c *copier) watch(finished <-chan struct{}) {
	if c.opts.Progress == nil {
		<-finished
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-finished:
			c.opts.Progress(c.total, c.total)
			return
		case <-tick.C:
			c.opts.Progress(min(c.done.Load(), c.total), c.total)
		}
	}
}

// stopped says that what is left need not be done.
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

// The kinds of what a copy may lack.
const (
	lostContent = iota
	lostOwner
	lostXattrs
	lostDevice
	lostMount
	lossKinds
)

// loss is what was lost of one kind: how often, and where first.
type loss struct {
	count int
	first string
}

// lose notes that an entry is not in the copy as it was.
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

// notes says in words what was lost.
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

// holdsScratch refuses a tree in which the copy would lie, also by way of bind mounts and symlinks.
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
			break // ".." of the root is the root
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

// removeStaging removes the directory of link and what is in it.
func removeStaging(path string) error {
	entries, err := os.ReadDir(path)
	for _, e := range entries {
		err = errors.Join(err, unix.Unlink(filepath.Join(path, e.Name())))
	}
	return errors.Join(err, unix.Rmdir(path))
}
