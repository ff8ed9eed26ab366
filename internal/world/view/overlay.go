package view

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
	"substrate/internal/world/tree"
	"substrate/internal/world/upper"
)

// prepareOverlay plans the kernel's own overlay over the whole machine, with an upper for each file
// system. Only a world shows whether its mounts are available.
func prepareOverlay(r *Request) (View, error) {
	l := &layered{r: r, prefix: upper.TrustedPrefix, index: r.Root}
	if !r.Root {
		l.prefix = upper.UserPrefix
		if r.Dir == "" {
			if err := userXattrsInMemory(); err != nil {
				return nil, err
			}
		}
	}
	if err := l.prepare(); err != nil {
		return nil, err
	}
	return l, nil
}

// layered is a view in which every write goes to an upper.
type layered struct {
	r      *Request
	plan   *layout.Plan
	mounts Mounts
	prefix string // of the marks of its overlays
	index  bool   // overlays are mounted with index=on
	served bool   // processes on the host serve the overlays; they do not see the memory of the world
}

func (l *layered) Mounts() Mounts { return l.mounts }

func (l *layered) Close() error { return nil }

// prepare plans the view and makes on disk what it needs.
func (l *layered) prepare() error {
	var err error
	if l.plan, err = layout.Make(planInput(l.r, l.place)); err != nil {
		return fmt.Errorf("plan the file view: %w", err)
	}
	l.mounts = Mounts{List: l.plan.Mounts, Notes: l.plan.Notes}
	for i := range l.plan.Shadows {
		if err := l.plan.Shadows[i].Create(); err != nil {
			return err
		}
	}
	for i := range l.plan.Copies {
		if err := l.plan.Copies[i].Create(); err != nil {
			return err
		}
	}
	l.mounts.Memory = l.inMemory()
	for i := range l.mounts.List {
		// In memory there is nothing to sync, and volatile costs two directories in each work
		// directory.
		if m := &l.mounts.List[i]; m.Kind == mount.Overlay && l.isInMemory(m.Upper) {
			m.Data = strings.TrimSuffix(m.Data, ",volatile")
		}
	}
	for i := range l.plan.Uppers {
		if l.isInMemory(l.plan.Uppers[i].Dir) {
			continue
		}
		if err := makeUpper(&l.plan.Uppers[i]); err != nil {
			return err
		}
	}
	return nil
}

// planInput returns the input of a plan.
func planInput(r *Request, place func(layout.PlaceKind, int) string) layout.Input {
	return layout.Input{
		FS: layout.Host{}, User: !r.Root, UID: os.Geteuid(), GID: os.Getegid(), Cwd: r.Cwd, Likely: r.Likely, Temp: r.Temp, Hide: r.Hide,
		MountInfo: r.MountInfo, EmptyDir: r.EmptyDir, Empty: r.Empty, Resolv: r.Resolv, Place: place,
	}
}

// place returns where the parts of a view are on the host. All are below the directory of the
// world, or its state directory if the uppers are in memory, so they are removed with it.
func (l *layered) place(kind layout.PlaceKind, n int) string {
	base := l.r.Dir
	switch {
	case !l.served && (kind == layout.UpperInMemory || kind == layout.WorkInMemory):
		base = l.r.Memory
	case base == "":
		base = l.r.Memory
		if kind == layout.ShadowDir || kind == layout.CopyFile {
			base = l.r.State
		}
	}
	return base + "/" + placeNames[kind] + strconv.Itoa(n)
}

var placeNames = map[layout.PlaceKind]string{
	layout.UpperDir: "upper", layout.WorkDir: "work", layout.ShadowDir: "shadow", layout.CopyFile: "copy",
	layout.UpperInMemory: "upper", layout.WorkInMemory: "work",
}

// makeUpper makes an upper and its work directory. The world shows the owner, mode and time of the
// upper as those of the directory that it covers.
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

// isInMemory reports whether a place is on the tmpfs of the uppers.
func (l *layered) isInMemory(place string) bool { return strings.HasPrefix(place, l.r.Memory+"/") }

// besides is the size of a tmpfs for directories that are hardly ever written to: a quarter of the
// memory.
const besides = "25%"

// inMemory returns the tmpfs for the uppers that are not on disk, nil if there are none.
func (l *layered) inMemory() *mount.Memory {
	m := &mount.Memory{Dir: l.r.Memory, Data: "mode=0700"}
	if size := l.r.MemorySize; size != "" {
		m.Data += ",size=" + size
	} else if l.r.Dir != "" {
		m.Data += ",size=" + besides
	}
	for _, u := range l.plan.Uppers {
		if !l.isInMemory(u.Dir) {
			continue
		}
		d := mount.MemoryDir{Path: u.Dir, Mode: u.Mode, UID: -1}
		if u.UID != os.Geteuid() || u.GID != os.Getegid() {
			d.UID, d.GID = u.UID, u.GID
		}
		m.Dirs = append(m.Dirs, mount.MemoryDir{Path: u.Work, Mode: 0o700, UID: -1}, d)
	}
	if len(m.Dirs) == 0 {
		return nil
	}
	return m
}

// Diff walks all uppers, then the copies of single files.
func (l *layered) Diff(b *fsdiff.Builder, memory int) (Found, error) {
	n, notes, err := upper.Walk(l.uppers(memory), b)
	copies, copyErr := l.copies()
	if len(copies) > 0 {
		_, more, walkErr := upper.Walk(copies, b)
		notes, copyErr = append(notes, more...), errors.Join(copyErr, walkErr)
	}
	return Found{Entries: n, ReadOnly: l.refused(memory), Notes: notes}, errors.Join(err, copyErr)
}

// refused lists the mounts that were read-only in the world because the kernel refused an overlay.
// A writable overlay makes a directory in its work directory.
func (l *layered) refused(memory int) []string {
	var out []string
	for _, u := range l.plan.Uppers {
		if !u.MayRefuse || u.ReadOnly {
			continue
		}
		if entries, err := os.ReadDir(l.at(u.Work, memory)); err == nil && len(entries) == 0 {
			out = append(out, u.Path)
		}
	}
	return out
}

// at returns the path by which the supervisor reaches a place. A tmpfs of the world is reached
// through its descriptor.
func (l *layered) at(place string, memory int) string {
	if !l.isInMemory(place) {
		return place
	}
	return "/proc/self/fd/" + strconv.Itoa(memory) + strings.TrimPrefix(place, l.mounts.Memory.Dir)
}

// uppers returns the uppers of the plan, to be walked.
func (l *layered) uppers(memory int) []upper.Upper {
	skip := append(append([]string(nil), MadeNew...), l.r.Hide...)
	var out []upper.Upper
	for _, u := range l.plan.Uppers {
		if u.ReadOnly {
			continue
		}
		up := upper.Upper{
			Dir: l.at(u.Dir, memory), Lower: u.Path, Path: u.Path, Prefix: l.prefix, Skip: skip,
			Start: &upper.RootState{Mode: u.Mode, UID: uint32(u.UID), GID: uint32(u.GID)},
		}
		if l.index {
			up.Index = l.at(u.Work, memory) + "/index"
		}
		out = append(out, up)
	}
	return out
}

// copies turns the copies of single files into uppers with one file each.
func (l *layered) copies() ([]upper.Upper, error) {
	var out []upper.Upper
	var errs []error
	for _, c := range l.plan.Copies {
		dir := c.Place + ".dir"
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			err = os.Rename(c.Place, filepath.Join(dir, filepath.Base(c.Path)))
		}
		start, stateErr := upper.ReadRootState(dir, l.prefix)
		if err = errors.Join(err, stateErr); err != nil {
			errs = append(errs, err)
			continue
		}
		parent := filepath.Dir(c.Path)
		out = append(out, upper.Upper{Dir: dir, Lower: parent, Path: parent, Prefix: l.prefix, Start: start})
	}
	return out, errors.Join(errs...)
}

// memoryMounts are places where the host is likely to have a tmpfs.
var memoryMounts = []string{"/dev/shm", "/run", "/tmp"}

// userXattrsInMemory is [tree.UserXattrs] for a tmpfs that is not mounted yet. It asks another
// tmpfs, and returns nil if there is none.
func userXattrsInMemory() error {
	for _, dir := range memoryMounts {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil || st.Type != unix.TMPFS_MAGIC {
			continue
		}
		if err := tree.UserXattrs(dir); err != nil {
			return fmt.Errorf("keep the changes in memory: %w", err)
		}
		return nil
	}
	return nil
}
