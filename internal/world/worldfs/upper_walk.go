package worldfs

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
)

// maxNotes bounds what Walk says about what it could not look at.
const maxNotes = 50

// walker is one call of Walk.
type walker struct {
	b *fsdiff.Builder

	mu      sync.Mutex // guards all that follows, and b
	entries int
	notes   []string
	err     error

	// The queue. What was found last is looked at first, which keeps few directories open.
	stack   []task
	busy    int        // tasks that are being done, which may add others
	idle    *sync.Cond // a task was added, or none will be
	helped  bool       // the second worker has been started
	workers sync.WaitGroup
}

func newWalker(b *fsdiff.Builder) *walker {
	w := &walker{b: b}
	w.idle = sync.NewCond(&w.mu)
	return w
}

// task is a directory to open, or if it is open, some of its names to look at.
type task struct {
	*job
	view  *view
	names []string
}

// job is a path that is a directory in the final view, was one before, or both. What it is now is
// merged from the upper and from the lower, there usually under the same path.
type job struct {
	l       *layer
	rel     string // below l.Path, with a slash in front; "" for the root
	lowRel  string // below l.Lower: where the lower part of what is there now comes from
	up      *dir   // has the upper part; nil if there is none
	low     *dir   // has the lower part under the last name of lowRel, unless a redirect says otherwise
	was     *dir   // has what was there before
	now     *node  // nil if it is no directory now
	before  *node  // nil if it was no directory
	opened  *view  // only for the root
	compare bool   // now and before are both directories: say if the metadata differs
}

// view is an open job.
type view struct {
	up, low, was *dir
	lowRel       string
	same         bool // low is was: what has no entry in the upper did not change
}

func (v *view) hold() *view {
	v.up.hold()
	v.low.hold()
	v.was.hold()
	return v
}

func (v *view) release() {
	v.up.release()
	v.low.release()
	v.was.release()
}

// node is a file of any type, by the directory that it is in.
type node struct {
	d     *dir
	name  string
	st    unix.Stat_t
	upper bool // in an upper, so its marks are the overlay's
}

func (n *node) isDir() bool { return n != nil && n.st.Mode&unix.S_IFMT == unix.S_IFDIR }

func (n *node) format() uint32 { return n.st.Mode & unix.S_IFMT }

// helpFrom is the number of tasks in the queue at which a second worker is worth its start. Both are busy with system calls
// most of the time; more would only wait for each other.
const helpFrom = 4

// run does what is in the queue, and what that adds to it, until it is empty.
func (w *walker) run() {
	w.work()
	w.workers.Wait()
}

func (w *walker) work() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.stack) == 0 && w.busy > 0 {
			w.idle.Wait()
		}
		if len(w.stack) == 0 {
			w.idle.Broadcast()
			return
		}
		t := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		w.busy++
		w.mu.Unlock()
		if t.view == nil {
			w.visit(t.job)
		} else {
			w.look(t)
		}
		w.mu.Lock()
		w.busy--
	}
}

// add puts a task into the queue.
func (w *walker) add(t task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stack = append(w.stack, t)
	if len(w.stack) >= helpFrom && !w.helped {
		w.helped = true
		w.workers.Go(w.work)
	}
	w.idle.Signal()
}

// note keeps a message for the user.
func (w *walker) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.notes) < maxNotes {
		w.notes = append(w.notes, fmt.Sprintf(format, args...))
	}
}

// fail keeps an error about an upper.
func (w *walker) fail(j *job, name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, fmt.Errorf("read upper of %s: %w", fsdiff.Escape(j.l.base+j.rel+name), err))
}

// pushRoot compares the root of an overlay and puts it on the stack. It takes over the reference to up.
func (w *walker) pushRoot(l *layer, up *dir, st *unix.Stat_t) error {
	j := &job{l: l, now: &node{d: up, name: ".", st: *st, upper: true}}
	if l.root != nil {
		j.before = &node{d: l.root, name: "."}
		if err := unix.Fstat(l.root.fd, &j.before.st); err != nil {
			return err
		}
	}
	if l.Start == nil {
		j.compare = j.before != nil
	} else if state, err := rootStateOf(up, st, l.Prefix); err != nil {
		return err
	} else if *state != *l.Start {
		w.emit(j, "", fsdiff.Modify, j.now, j.before)
	}
	j.opened = &view{up: up, low: l.root.hold(), was: l.root.hold(), same: true}
	w.add(task{job: j})
	return nil
}

// visit compares what is in a directory with what was in it.
func (w *walker) visit(j *job) {
	v := j.opened
	if v == nil {
		v = w.open(j)
	}
	defer v.release()
	j.up.release()
	j.low.release()
	j.was.release()
	if j.compare && w.dirChanged(j, v) {
		w.emit(j, "", fsdiff.Modify, j.now, j.before)
	}
	if v.same && v.up == nil {
		return
	}
	linked := newSiblings(j.l)
	names := w.namesOf(j, v, linked)
	if linked == nil { // else what is linked is only known after the last name
		for ; len(names) > portion; names = names[portion:] {
			w.add(task{j, v.hold(), names[:portion]})
		}
	}
	for _, name := range names {
		w.path(j, v, name, linked)
	}
	w.addSiblings(j, v, linked)
}

// portion is the number of names in a task; directories with more are shared out.
const portion = 512

// look compares some names of an open directory.
func (w *walker) look(t task) {
	defer t.view.release()
	for _, name := range t.names {
		w.path(t.job, t.view, name, nil)
	}
}

// open opens the parts of a directory.
func (w *walker) open(j *job) *view {
	v := &view{lowRel: j.lowRel}
	var m marks
	var err error
	if j.now.isDir() && j.now.upper {
		if v.up, err = openUpperDir(j.up, path.Base(j.rel), &j.now.st); err == nil {
			m, err = j.l.marksOf(v.up)
		}
		if err != nil {
			w.fail(j, "", err)
		}
	}
	if j.before != nil {
		v.was = w.openLower(j, j.was, path.Base(j.rel))
	}
	switch {
	case j.now == nil || m.opaque:
		return v
	case strings.HasPrefix(m.redirect, "/"):
		v.lowRel = path.Clean(m.redirect)
	case m.redirect != "":
		v.lowRel = path.Dir(j.lowRel) + "/" + m.redirect
		if path.Dir(j.lowRel) == "/" {
			v.lowRel = "/" + m.redirect
		}
	}
	switch {
	case v.lowRel == j.rel && j.before != nil && (j.low != nil || strings.HasPrefix(m.redirect, "/")):
		v.low, v.same = v.was.hold(), true
	case strings.HasPrefix(m.redirect, "/"):
		if v.low, err = openLowerPath(j.l.root, m.redirect); err != nil {
			w.unknown(j, "", err)
		}
	case j.low != nil:
		v.low = w.openLower(j, j.low, path.Base(v.lowRel))
	}
	return v
}

// openLower opens a directory of the lower; what cannot be opened is noted and taken for nothing.
func (w *walker) openLower(j *job, parent *dir, name string) *dir {
	d, err := openLowerDir(parent, name)
	if err != nil {
		w.unknown(j, "", err)
	}
	return d
}

// unknown notes that the lower of a path could not be looked at.
func (w *walker) unknown(j *job, name string, err error) {
	w.note("what was in %s is not known: %v", fsdiff.Escape(j.l.base+j.rel+name), err)
}

// namesOf returns each name that may stand for a change: those of the upper, and where the lower part is
// another than before, all.
func (w *walker) namesOf(j *job, v *view, linked *siblings) []string {
	var names []string
	if err := v.up.names(func(name string, _ uint64) { names = append(names, name) }); err != nil {
		w.fail(j, "", err)
	}
	if j.l.isFuse() {
		names = fuseNames(names)
	}
	w.mu.Lock()
	w.entries += len(names)
	w.mu.Unlock()
	linked.inUpper(names)
	if v.same {
		return names
	}
	lowers := []*dir{v.low, v.was}
	several := (v.up != nil && len(names) > 0) || (v.low != nil && v.was != nil)
	seen := make(map[string]bool)
	if several {
		for _, name := range names {
			seen[name] = true
		}
	}
	for _, d := range lowers {
		err := d.names(func(name string, _ uint64) {
			if several && seen[name] {
				return
			}
			if several {
				seen[name] = true
			}
			names = append(names, name)
		})
		if err != nil {
			w.unknown(j, "", err)
		}
	}
	return names
}

// path compares one name in a directory, and puts what is a directory on the stack.
func (w *walker) path(j *job, v *view, name string, linked *siblings) {
	if len(j.l.skip) > 0 && j.l.skip[j.l.base+j.rel+"/"+name] {
		return
	}
	now, whiteout := w.upperNode(j, v, name)
	before := w.lowerNode(j, v.was, name)
	if now == nil && !whiteout {
		switch {
		case v.same:
			return
		case len(j.l.skip) == 0 || !j.l.skip[j.l.base+v.lowRel+"/"+name]:
			now = w.throughIndex(j, w.lowerNode(j, v.low, name))
		}
	}
	w.sawLink(j, name, before, linked)
	switch {
	case now == nil && before == nil:
		return
	case before == nil:
		w.emit(j, "/"+name, fsdiff.Create, now, nil)
	case now == nil:
		w.emit(j, "/"+name, fsdiff.Delete, before, before)
	case now.format() != before.format():
		w.emit(j, "/"+name, fsdiff.TypeChange, now, before)
	case !now.isDir():
		if w.changed(j, v, now, before) {
			w.emit(j, "/"+name, fsdiff.Modify, now, before)
			if j.l.isFuse() && now.upper {
				w.sawFuseCopy(j, v, now, before)
			}
		}
		return
	}
	if now.isDir() || before.isDir() {
		w.push(j, v, name, now, before)
	}
}

// push puts a directory on the stack.
func (w *walker) push(j *job, v *view, name string, now, before *node) {
	next := &job{l: j.l, rel: j.rel + "/" + name, lowRel: j.rel + "/" + name}
	if v.lowRel != j.rel {
		next.lowRel = v.lowRel + "/" + name
	}
	if now.isDir() {
		next.now = now
		next.low = v.low.hold()
		if now.upper {
			next.up = v.up.hold()
		}
	}
	if before.isDir() {
		next.before = before
		next.was = v.was.hold()
	}
	next.compare = next.now != nil && next.before != nil
	w.add(task{job: next})
}

// upperNode looks at a name of the upper.
func (w *walker) upperNode(j *job, v *view, name string) (n *node, whiteout bool) {
	if v.up == nil {
		return nil, false
	}
	n = &node{d: v.up, name: name, upper: true}
	if j.l.isFuse() {
		if gone, err := isFuseWhiteout(v.up, name); gone || err != nil {
			if err != nil {
				w.fail(j, "/"+name, err)
			}
			return nil, true
		}
	}
	err := unix.Fstatat(v.up.fd, name, &n.st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil, false
	}
	if err == nil {
		whiteout, err = n.isWhiteout(j.l.Prefix)
	}
	if err != nil {
		w.fail(j, "/"+name, err)
	}
	if err != nil || whiteout {
		return nil, whiteout
	}
	return n, false
}

// lowerNode looks at a name of the lower. What looks like a whiteout there is hidden by the overlay.
func (w *walker) lowerNode(j *job, d *dir, name string) *node {
	if d == nil || d.closed.Load() || j.l.isFuse() && hiddenByFuse(d, name) {
		return nil
	}
	n := &node{d: d, name: name}
	err := unix.Fstatat(d.fd, name, &n.st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	switch {
	case errors.Is(err, unix.EACCES):
		d.closed.Store(true)
		w.unknown(j, "", err)
		return nil
	case err != nil && !isAbsent(err):
		w.unknown(j, "/"+name, err)
	}
	if err != nil {
		return nil
	}
	if n.isDeviceWhiteout() {
		return nil
	}
	return n
}

// isDeviceWhiteout tells whether the file is the character device 0/0.
func (n *node) isDeviceWhiteout() bool { return n.format() == unix.S_IFCHR && n.st.Rdev == 0 }

// isWhiteout tells whether an entry of the upper says that the name is deleted.
//
// Source: overlayfs.rst, "Whiteouts and opaque directories".
func (n *node) isWhiteout(prefix string) (bool, error) {
	if n.format() == unix.S_IFREG && n.st.Size == 0 {
		return hasMark(n.d, n.name, prefix+"whiteout")
	}
	return n.isDeviceWhiteout(), nil
}

// emit adds a change of a name in the directory of j; the name is "" for the directory itself.
func (w *walker) emit(j *job, name string, kind fsdiff.Kind, now, before *node) {
	m := w.meta(j, name, now)
	var was *fsdiff.Meta
	if before != nil {
		old := m
		if before != now {
			old = w.meta(j, name, before)
		}
		was = &old
	}
	full := j.l.base + j.rel + name
	if full == "" {
		full = "/"
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Add(full, kind, m, was)
}
