package world

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/layout"
	"substrate/internal/world/mount"
	"substrate/internal/world/worldfs"
	"substrate/internal/world/worldinit"
)

// view is the file view of a world: what is mounted, and where the changes will be found.
type view struct {
	props  // what all worlds share
	plan   *layout.Plan
	mounts []mount.Mount
	memory *worldinit.Memory // nil if the uppers are on disk
	hide   []string
	prefix string // of the overlay's marks
	index  bool   // overlays are mounted with index=on
}

// madeNew are the directories that a world does not share with the host and that are in no diff.
var madeNew = []string{"/proc", "/sys", "/dev", "/run"}

// newView plans the file view, and makes on disk what it needs.
func (w *World) newView() (*view, error) {
	v := &view{prefix: worldfs.TrustedPrefix, index: w.spec.Root}
	if !w.spec.Root {
		v.prefix = worldfs.UserPrefix
	}
	var err error
	if v.props, err = makeProps(filepath.Dir(filepath.Dir(w.dir))); err != nil {
		return nil, err
	}
	in, err := w.layoutInput(v)
	if err != nil {
		return nil, err
	}
	if v.plan, err = layout.Make(in); err != nil {
		return nil, fmt.Errorf("plan the file view: %w", err)
	}
	v.mounts, v.hide = v.plan.Mounts, in.Hide
	for _, note := range v.plan.Notes {
		w.degraded = append(w.degraded, Degradation{Name: "fs-view", Message: note})
	}
	for i := range v.plan.Shadows {
		if err := v.plan.Shadows[i].Create(); err != nil {
			return nil, err
		}
	}
	for i := range v.plan.Copies {
		if err := v.plan.Copies[i].Create(); err != nil {
			return nil, err
		}
	}
	if w.upperDir == "" {
		v.memory = w.inMemory(v)
		return v, nil
	}
	for i := range v.plan.Uppers {
		if err := makeUpper(&v.plan.Uppers[i]); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// layoutInput gathers what the plan is made from.
func (w *World) layoutInput(v *view) (layout.Input, error) {
	in := layout.Input{
		FS: layout.Host{}, User: !w.spec.Root, UID: os.Geteuid(), GID: os.Getegid(), Cwd: w.spec.Cwd, Likely: w.spec.Likely,
		Empty: v.empty, Resolv: v.resolv, Place: func(kind layout.PlaceKind, n int) string { return w.place(v, kind, n) },
	}
	in.Hide = append(in.Hide, w.spec.Hide...)
	for _, dir := range append(append([]string(nil), w.spec.Dirs.Run...), w.spec.Dirs.Overlay...) {
		// What is there but no store of ours stays in sight: behind a planted symlink it may be the caller's home.
		if checkOwned(dir) == nil {
			in.Hide = append(in.Hide, dir)
		}
	}
	var err error
	if in.MountInfo, err = readMountInfo(); err != nil {
		return in, fmt.Errorf("read the mounts of this machine: %w", err)
	}
	return in, nil
}

// place says where on the host the parts of a view lie. All are below the upper's directory, or the state directory if
// the uppers are in memory, so that they go with it.
func (w *World) place(v *view, kind layout.PlaceKind, n int) string {
	base := w.upperDir
	if base == "" {
		base = v.tmpfs
		if kind == layout.ShadowDir || kind == layout.CopyFile {
			base = w.dir
		}
	}
	return base + "/" + placeNames[kind] + strconv.Itoa(n)
}

var placeNames = map[layout.PlaceKind]string{layout.UpperDir: "upper", layout.WorkDir: "work", layout.ShadowDir: "shadow", layout.CopyFile: "copy"}

// makeUpper makes an upper and its work directory. The upper gets its owner, mode and time,
// because the world shows them as those of the directory that it covers.
func makeUpper(u *layout.Upper) error {
	for _, d := range []string{u.Work, u.Dir} {
		if err := unix.Mkdir(d, 0o700); err != nil {
			return &os.PathError{Op: "mkdir", Path: d, Err: err}
		}
	}
	if u.UID != os.Geteuid() || u.GID != os.Getegid() {
		if err := unix.Lchown(u.Dir, u.UID, u.GID); err != nil {
			return &os.PathError{Op: "chown", Path: u.Dir, Err: err}
		}
	}
	if err := unix.Chmod(u.Dir, u.Mode); err != nil {
		return &os.PathError{Op: "chmod", Path: u.Dir, Err: err}
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Sec: u.MtimeSec, Nsec: u.MtimeNsec}}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, u.Dir, ts, 0); err != nil {
		return &os.PathError{Op: "utimensat", Path: u.Dir, Err: err}
	}
	return nil
}

// inMemory prepares a tmpfs for the uppers.
func (w *World) inMemory(v *view) *worldinit.Memory {
	m := &worldinit.Memory{Dir: v.tmpfs, Data: "mode=0700"}
	if _, size, ok := strings.Cut(w.spec.Upper, ":"); ok {
		m.Data += ",size=" + size
	}
	for _, u := range v.plan.Uppers {
		d := worldinit.MemoryDir{Path: u.Dir, Mode: u.Mode, UID: -1}
		if u.UID != os.Geteuid() || u.GID != os.Getegid() {
			d.UID, d.GID = u.UID, u.GID
		}
		m.Dirs = append(m.Dirs, worldinit.MemoryDir{Path: u.Work, Mode: 0o700, UID: -1}, d)
	}
	return m
}

// upperInMemory says whether the uppers are in memory.
func (w *World) upperInMemory() bool { return w.view.memory != nil }

// diff adds to res what the command changed.
func (w *World) diff(res *Result) {
	limit := w.spec.DiffMax
	if limit <= 0 {
		limit = fsdiff.DefaultMax
	}
	b := fsdiff.New(w.spec.Cwd, res.Strategy, limit)
	n, notes, err := worldfs.Walk(w.uppers(), b)
	copies, copyErr := w.copies()
	if len(copies) > 0 {
		_, more, walkErr := worldfs.Walk(copies, b)
		notes, copyErr = append(notes, more...), errors.Join(copyErr, walkErr)
	}
	res.UpperEntries = n
	for _, path := range w.refused() {
		res.Degraded = append(res.Degraded, Degradation{Name: "fs-view", Message: path + ": the kernel refused an overlay over it; it was read-only in the world", Asked: true})
	}
	for _, note := range notes {
		res.Degraded = append(res.Degraded, Degradation{Name: "diff", Message: note, Asked: true})
	}
	if err = errors.Join(err, copyErr); err != nil {
		res.Degraded = append(res.Degraded, Degradation{Name: "diff", Message: "the list of changes is incomplete: " + err.Error(), Asked: true})
	}
	res.Diff = b.Finish()
}

// refused lists the mounts that the world showed read-only because the kernel took no overlay over them. An overlay
// that can be written makes a directory in its work directory.
func (w *World) refused() []string {
	var out []string
	for _, u := range w.view.plan.Uppers {
		if !u.MayRefuse || u.ReadOnly {
			continue
		}
		if entries, err := os.ReadDir(w.upperPath(u.Work)); err == nil && len(entries) == 0 {
			out = append(out, u.Path)
		}
	}
	return out
}

// upperPath is where the supervisor reaches a place of an upper, which with a tmpfs of the world's own is through its descriptor.
func (w *World) upperPath(place string) string {
	if w.view.memory == nil {
		return place
	}
	return "/proc/self/fd/" + strconv.Itoa(w.memory) + strings.TrimPrefix(place, w.view.memory.Dir)
}

// uppers says where the changes are.
func (w *World) uppers() []worldfs.Upper {
	v := w.view
	skip := append(append([]string(nil), madeNew...), v.hide...)
	var out []worldfs.Upper
	for _, u := range v.plan.Uppers {
		if u.ReadOnly {
			continue
		}
		up := worldfs.Upper{
			Dir: w.upperPath(u.Dir), Lower: u.Path, Path: u.Path, Prefix: v.prefix, Skip: skip,
			Start: &worldfs.RootState{Mode: u.Mode, UID: uint32(u.UID), GID: uint32(u.GID)},
		}
		if v.index {
			up.Index = w.upperPath(u.Work) + "/index"
		}
		out = append(out, up)
	}
	return out
}

// copies presents the copies of single files as uppers of their directories, one file in each.
func (w *World) copies() ([]worldfs.Upper, error) {
	var out []worldfs.Upper
	var errs []error
	for _, c := range w.view.plan.Copies {
		dir := c.Place + ".dir"
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			err = os.Rename(c.Place, filepath.Join(dir, filepath.Base(c.Path)))
		}
		start, stateErr := worldfs.ReadRootState(dir, w.view.prefix)
		if err = errors.Join(err, stateErr); err != nil {
			errs = append(errs, err)
			continue
		}
		parent := filepath.Dir(c.Path)
		out = append(out, worldfs.Upper{Dir: dir, Lower: parent, Path: parent, Prefix: w.view.prefix, Start: start})
	}
	return out, errors.Join(errs...)
}
