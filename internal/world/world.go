package world

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/plain"
	"substrate/internal/world/boot"
	"substrate/internal/world/cgroup"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// World is one world. It is used from one goroutine, except for [World.Signal].
type World struct {
	ID   string // wld_ and 32 hex digits
	Name string // as given in Spec, or with _2, _3 …

	spec    Spec
	stores  []string // roots of our own that the world hides
	report  report
	objects objects
	shared  state.Shared

	group    *cgroup.Group // nil if there is none
	noDivide error         // why the caller's own cgroup cannot be divided, if systemd is to make one; else nil

	selection selection
	attempt   attempt

	signals target        // the init process, for signals; nothing once the command has ended
	leaving *boot.Process // the init process after the command has ended: it ends by itself
}

// objects are what a world has on the host, besides its cgroup and the name of its network
// namespace.
type objects struct {
	dir      string      // state directory
	lock     int         // its lock, held while the world lives; -1 without
	upperDir string      // below an overlay root; "" if the uppers are in memory
	upperFD  int         // its lock, -1 without
	slot     int         // one of Spec.Slots, -1 without
	file     state.World // content of world.json: all objects, the first one first
}

// attempt is one strategy: its view and the process that shows it.
type attempt struct {
	strategy string
	view     view.View // nil until it is planned
	memory   int       // root of the tmpfs with the uppers once it is mounted, -1 without
	init     *child    // nil until it is configured
}

// New makes a world: its name and lock, its directories, its cgroup, its init process and the plan
// of its file view. The caller must call [World.Close].
//
// Errors wrap [probe.ErrUnsupported] if this host cannot have such a world.
func New(spec Spec) (*World, error) {
	if err := state.CheckName(spec.Name); err != nil {
		return nil, err
	}
	candidates, err := candidates(&spec)
	if err != nil {
		return nil, err
	}
	w := newWorld(spec, candidates, slices.Concat(spec.Dirs.Run, spec.Dirs.Overlay))
	if err := w.makeObjects(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	if err := w.selectView(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// newWorld returns a world that has nothing on the host yet.
func newWorld(spec Spec, candidates []view.Strategy, stores []string) *World {
	return &World{
		ID: newID(), spec: spec, stores: stores, report: report{observe: spec.Observe},
		objects:   objects{lock: -1, upperFD: -1, slot: -1},
		selection: selection{candidates: candidates}, attempt: attempt{memory: -1},
	}
}

// newID returns the id of a world. No secret depends on it, and crypto/rand would start a timer,
// and with that the poller.
func newID() string {
	now := time.Now()
	return plain.NewID("wld_", plain.Tick(now.Unix(), int64(now.Nanosecond())), rand.Uint64())
}

// crashpoint is called after each object was made; tests let the process die there.
var crashpoint = func(kind, path string) {}

// makeObjects makes everything that does not depend on the file view. On error the caller closes w.
func (w *World) makeObjects() error {
	run, err := state.RunRoot(w.spec.Dirs)
	if err != nil {
		return err
	}
	worlds, err := state.Worlds(run)
	if err != nil {
		return err
	}
	if w.objects.slot, err = state.TakeSlot(run, w.spec.Slots, w.spec.Signals.wait); err != nil {
		return err
	}
	_, _ = state.GC(w.spec.Dirs, false) // what it cannot remove, `world gc` reports
	w.skip(loadFailures(run, &w.spec, w.selection.candidates))
	first := w.selection.candidates[0]
	if !first.NoWorld {
		// It makes its network namespace while we go on. An error is ignored here; Run tries again
		// and reports it.
		_ = w.startInit()
	}
	overlays := ""
	if w.spec.Upper == "" && !first.AnyDisk { // whose disk is chosen when it is their turn, by other rules
		overlays, w.spec.Upper = w.overlayRoot()
	}
	claim, err := state.Take(worlds, w.spec.Name, w.spec.Root, w.spec.Dirs)
	if err != nil {
		return err
	}
	w.Name, w.objects.dir, w.objects.lock = claim.Name, claim.Dir, claim.Lock
	crashpoint(state.KindState, claim.Dir)
	groupDir := w.groupDir()
	if overlays != "" {
		w.objects.upperDir = filepath.Join(overlays, w.Name)
	}
	w.objects.file = state.World{
		ID: w.ID, Name: w.Name, Created: time.Now().UTC(), PID: os.Getpid(), Cwd: w.spec.Cwd,
		Strategy: first.Name, // nearly always the one that is taken, so that the file need not be written again
		Objects:  []state.Object{{Kind: state.KindState, Path: claim.Dir}},
	}
	for _, o := range []state.Object{{Kind: state.KindCgroup, Path: groupDir}, {Kind: state.KindUpper, Path: w.objects.upperDir}, {Kind: state.KindNetns, Path: w.netnsName()}} {
		if o.Path != "" {
			w.objects.file.Objects = append(w.objects.file.Objects, o)
		}
	}
	if err := w.objects.file.Write(claim.Dir); err != nil {
		return err
	}
	crashpoint("world.json", claim.Dir)
	w.makeGroup(groupDir)
	if err := w.objects.takeUpper(w.objects.upperDir); err != nil {
		return err
	}
	if w.signals.proc != nil && !first.AnyDisk { // it holds the lock of the upper, too
		if err := w.configureInit(); err != nil {
			return err
		}
	}
	w.shared, err = state.MakeShared(run)
	return err
}

// upperDisk is the name of the degradation that no disk can hold an upper.
const upperDisk = "upper-disk"

// overlayRoot returns the directory for the upper, or the size of the tmpfs if no disk can hold
// one.
func (w *World) overlayRoot() (dir, tmpfs string) {
	dir, err := state.UsableRoot("uppers", w.spec.Dirs.Overlay, state.HoldsUpper(w.spec.Root))
	if err == nil {
		return dir, ""
	}
	w.report.degrade(Degradation{
		Name: upperDisk, Asked: true,
		Message: fmt.Sprintf("no disk can hold the changes; they are kept in memory, at most a quarter of it (%v)", err),
	})
	return "", "tmpfs:25%"
}

// takeUpper makes and locks the directory of the uppers; "" for none.
func (o *objects) takeUpper(dir string) (err error) {
	if dir == "" {
		return nil
	}
	if o.upperFD, err = state.TakeUpper(dir); err == nil {
		crashpoint(state.KindUpper, dir)
	}
	return err
}

// add writes an object down before it is made.
func (o *objects) add(kind, path string) error {
	o.file.Objects = append(o.file.Objects, state.Object{Kind: kind, Path: path})
	return o.file.Rewrite(o.dir)
}

// forget takes an object out of the state because it turned out to be somebody else's.
func (w *World) forget(kind string) {
	file := &w.objects.file
	file.Objects = slices.DeleteFunc(file.Objects, func(o state.Object) bool { return o.Kind == kind })
	if err := file.Rewrite(w.objects.dir); err != nil {
		w.report.degrade(Degradation{Name: "state", Message: err.Error()})
	}
}

// netnsName is the name of the network namespace; "" for a user's, which gets none.
func (w *World) netnsName() string {
	if !w.spec.Root {
		return ""
	}
	return netns.Prefix + w.Name
}

// Signal sends sig to the command's process group. Before the command runs it makes [World.Run]
// give up with [Interrupted], or reaches the command at its start; after the command has ended it
// does nothing. It may be called from any goroutine.
func (w *World) Signal(sig syscall.Signal) error { return w.signals.send(sig) }

// Dismantle kills what still runs in the world and removes everything on the host that New and Run
// made. It does not wait for the end of the init process, in which the kernel takes the namespaces
// down, and does not release the locks: [World.Close] does. It is safe to call twice.
func (w *World) Dismantle() error {
	err := w.endInit()
	if w.attempt.view != nil {
		err = errors.Join(err, w.attempt.view.Close())
		w.attempt.view = nil
	}
	closeFD(&w.attempt.memory)
	var first, last []state.Object
	for _, o := range w.objects.file.Objects {
		if o.Kind == state.KindUpper || o.Kind == state.KindNetns {
			first = append(first, o)
		} else {
			last = append(last, o)
		}
	}
	w.objects.file.Objects = nil
	err = errors.Join(err, state.Remove(first))
	if w.attempt.init != nil && w.attempt.init.inGroup {
		err = errors.Join(err, w.awaitInit())
	}
	if w.group != nil {
		err = errors.Join(err, w.group.Close())
		w.group = nil
	}
	if err == nil {
		err = state.Remove(last)
	}
	return err
}

// Close is [World.Dismantle], and returns when nothing is left. It is safe to call twice.
func (w *World) Close() error {
	err := errors.Join(w.Dismantle(), w.awaitInit())
	for _, fd := range []*int{&w.objects.upperFD, &w.objects.lock, &w.objects.slot} {
		closeFD(fd)
	}
	return err
}

// closeFD closes a descriptor that may be -1 for none.
func closeFD(fd *int) {
	if *fd >= 0 {
		_ = unix.Close(*fd)
		*fd = -1
	}
}
