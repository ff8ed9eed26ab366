package upper

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/tree"
)

// walker is one call of Walk.
type walker struct {
	*tree.Findings
	entries atomic.Int64
	queue   *tree.Queue[task]
}

// A second worker is started when helpFrom tasks are waiting. Both spend most of their time in
// system calls; more than two would only wait for each other.
const (
	workers  = 2
	helpFrom = 4
)

func newWalker(b *fsdiff.Builder) *walker {
	w := &walker{Findings: tree.NewFindings(b)}
	w.queue = tree.NewQueue(workers, helpFrom, func(t task) {
		if t.view == nil {
			w.visit(t.job)
		} else {
			w.look(t)
		}
	})
	return w
}

// task is a directory to open. If view is set, it is some of the names of an open one.
type task struct {
	*job
	view  *view
	names []string
}

// job is a path that is a directory in the final view, was one before, or both. The directory of
// now is merged from the upper and the lower, usually at the same path.
type job struct {
	l       *layer
	rel     string     // below l.Path, with a slash at the start; "" for the root
	lowRel  string     // below l.Lower: the path of the lower part of the directory of now
	up      *tree.Dir  // holds the upper part; nil if there is none
	low     *tree.Dir  // holds the lower part under the last name of lowRel, unless a redirect names another one
	was     *tree.Dir  // holds the directory of before
	now     *tree.Node // nil if it is no directory now
	before  *tree.Node // nil if it was no directory
	opened  *view      // for the root only
	compare bool       // now and before are directories, and their metadata must be compared
}

// view is an open job.
type view struct {
	up, low, was *tree.Dir
	lowRel       string
	same         bool // low is was: names without an entry in the upper did not change
}

func (v *view) hold() *view {
	v.up.Hold()
	v.low.Hold()
	v.was.Hold()
	return v
}

// fail adds an error about an upper.
func (w *walker) fail(j *job, name string, err error) {
	w.Fail(fmt.Errorf("read upper of %s: %w", fsdiff.Escape(j.l.base+j.rel+name), err))
}

// pushRoot compares the root of an overlay and adds it to the queue. It takes over the reference to
// up.
func (w *walker) pushRoot(l *layer, up *tree.Dir, st *unix.Stat_t) error {
	j := &job{l: l, now: &tree.Node{Dir: up, Name: ".", Stat: *st, Upper: true}}
	if l.root != nil {
		j.before = &tree.Node{Dir: l.root, Name: "."}
		if err := unix.Fstat(l.root.FD, &j.before.Stat); err != nil {
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
	j.opened = &view{up: up, low: l.root.Hold(), was: l.root.Hold(), same: true}
	w.queue.Add(task{job: j})
	return nil
}

// visit compares the entries of a directory with those of before.
func (w *walker) visit(j *job) {
	v := j.opened
	if v == nil {
		v = w.open(j)
	}
	defer tree.Release(v.up, v.low, v.was)
	tree.Release(j.up, j.low, j.was)
	if j.compare && w.dirChanged(j, v) {
		w.emit(j, "", fsdiff.Modify, j.now, j.before)
	}
	if v.same && v.up == nil {
		return
	}
	linked := newSiblings(j.l)
	names := w.namesOf(j, v, linked)
	if linked == nil { // otherwise the links are only known after the last name
		for ; len(names) > tree.Portion; names = names[tree.Portion:] {
			w.queue.Add(task{j, v.hold(), names[:tree.Portion]})
		}
	}
	for _, name := range names {
		w.path(j, v, name, linked)
	}
	w.addSiblings(j, v, linked)
}

// look compares some names of an open directory.
func (w *walker) look(t task) {
	defer tree.Release(t.view.up, t.view.low, t.view.was)
	for _, name := range t.names {
		w.path(t.job, t.view, name, nil)
	}
}

// open opens the parts of a directory.
func (w *walker) open(j *job) *view {
	v := &view{lowRel: j.lowRel}
	var m marks
	var err error
	if j.now.IsDir() && j.now.Upper {
		if v.up, err = tree.OpenUpper(j.up, path.Base(j.rel), &j.now.Stat); err == nil {
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
		v.low, v.same = v.was.Hold(), true
	case strings.HasPrefix(m.redirect, "/"):
		if v.low, err = tree.OpenLowerPath(j.l.root, m.redirect); err != nil {
			w.unknown(j, "", err)
		}
	case j.low != nil:
		v.low = w.openLower(j, j.low, path.Base(v.lowRel))
	}
	return v
}

// openLower opens a directory of the lower. If it cannot, it adds a note and returns nil.
func (w *walker) openLower(j *job, parent *tree.Dir, name string) *tree.Dir {
	d, err := tree.OpenLower(parent, name)
	if err != nil {
		w.unknown(j, "", err)
	}
	return d
}

// unknown notes that the lower of a path could not be read.
func (w *walker) unknown(j *job, name string, err error) {
	w.Note("the earlier contents of %s are unknown: %v", fsdiff.Escape(j.l.base+j.rel+name), err)
}

// namesOf returns all names that may have changed: those in the upper, and if the lower part is not
// the directory of before, all names in both.
func (w *walker) namesOf(j *job, v *view, linked *siblings) []string {
	var names []string
	if err := v.up.Names(func(name string, _ uint64) { names = append(names, name) }); err != nil {
		w.fail(j, "", err)
	}
	if j.l.isFuse() {
		names = fuseNames(names)
	}
	w.entries.Add(int64(len(names)))
	linked.inUpper(names)
	if v.same {
		return names
	}
	lowers := []*tree.Dir{v.low, v.was}
	several := (v.up != nil && len(names) > 0) || (v.low != nil && v.was != nil)
	seen := make(map[string]bool)
	if several {
		for _, name := range names {
			seen[name] = true
		}
	}
	for _, d := range lowers {
		err := d.Names(func(name string, _ uint64) {
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

// path compares one name in a directory, and adds directories to the queue.
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
	w.countLink(j, name, before, linked)
	switch {
	case now == nil && before == nil:
		return
	case before == nil:
		w.emit(j, "/"+name, fsdiff.Create, now, nil)
	case now == nil:
		w.emit(j, "/"+name, fsdiff.Delete, before, before)
	case now.Format() != before.Format():
		w.emit(j, "/"+name, fsdiff.TypeChange, now, before)
	case !now.IsDir():
		if w.changed(j, v, now, before) {
			w.emit(j, "/"+name, fsdiff.Modify, now, before)
			if j.l.isFuse() && now.Upper {
				w.addFuseLinks(j, v, now, before)
			}
		}
		return
	}
	if now.IsDir() || before.IsDir() {
		w.push(j, v, name, now, before)
	}
}

// push adds a directory to the queue.
func (w *walker) push(j *job, v *view, name string, now, before *tree.Node) {
	next := &job{l: j.l, rel: j.rel + "/" + name, lowRel: j.rel + "/" + name}
	if v.lowRel != j.rel {
		next.lowRel = v.lowRel + "/" + name
	}
	if now.IsDir() {
		next.now = now
		next.low = v.low.Hold()
		if now.Upper {
			next.up = v.up.Hold()
		}
	}
	if before.IsDir() {
		next.before = before
		next.was = v.was.Hold()
	}
	next.compare = next.now != nil && next.before != nil
	w.queue.Add(task{job: next})
}

// upperNode looks up a name in the upper.
func (w *walker) upperNode(j *job, v *view, name string) (n *tree.Node, whiteout bool) {
	if v.up == nil {
		return nil, false
	}
	n = &tree.Node{Dir: v.up, Name: name, Upper: true}
	if j.l.isFuse() {
		if gone, err := isFuseWhiteout(v.up, name); gone || err != nil {
			if err != nil {
				w.fail(j, "/"+name, err)
			}
			return nil, true
		}
	}
	err := unix.Fstatat(v.up.FD, name, &n.Stat, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil, false
	}
	if err == nil {
		whiteout, err = isWhiteout(n, j.l.Prefix)
	}
	if err != nil {
		w.fail(j, "/"+name, err)
	}
	if err != nil || whiteout {
		return nil, whiteout
	}
	return n, false
}

// lowerNode looks up a name in the lower. A whiteout there hides the name.
func (w *walker) lowerNode(j *job, d *tree.Dir, name string) *tree.Node {
	if d == nil || d.Denied.Load() || j.l.isFuse() && hiddenByFuse(d, name) {
		return nil
	}
	n := &tree.Node{Dir: d, Name: name}
	err := unix.Fstatat(d.FD, name, &n.Stat, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	switch {
	case errors.Is(err, unix.EACCES):
		d.Denied.Store(true)
		w.unknown(j, "", err)
		return nil
	case err != nil && !tree.IsAbsent(err):
		w.unknown(j, "/"+name, err)
	}
	if err != nil {
		return nil
	}
	if isDeviceWhiteout(n) {
		return nil
	}
	return n
}

// emit adds a change of a name in the directory of j. name is "" for the directory itself.
func (w *walker) emit(j *job, name string, kind fsdiff.Kind, now, before *tree.Node) {
	m := w.meta(j, now)
	var was *fsdiff.Meta
	if before != nil {
		old := m
		if before != now {
			old = w.meta(j, before)
		}
		was = &old
	}
	w.Change(j.l.base+j.rel+name, kind, m, was)
}
