package world

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/world/boot"
	"substrate/internal/world/cgroup"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// World is one world. It is used from one goroutine, but for [World.Signal].
type World struct {
	ID   string // wld_ and 32 hex digits
	Name string // as given in Spec, or with _2, _3 …

	spec     Spec
	dir      string // state directory; locked by lock while the world lives
	lock     int
	upperDir string // below an overlay root; "" if the uppers are in memory
	upperFD  int    // its lock, -1 without
	slot     int    // its share of Spec.Slots, -1 without
	memory   int    // tmpfs with the uppers once the world runs, -1 without
	group    *cgroup.Group
	noDivide error // why the caller's own cgroup cannot be divided, if systemd shall give the world one; else nil
	shared   state.Shared
	view     view.View
	strategy string // of view
	file     state.World
	degraded []Degradation

	candidates []view.Strategy // not tried yet, the best first
	rejected   []Rejected      // tried in vain

	ran        bool
	dismantled bool
	ended      bool // the command has ended, and no process is left but the first, which is ending by itself

	settled bool // the first process knows all but the file view
	grouped bool // the first process is in the cgroup too, not only the command

	mu    sync.Mutex // guards what follows against Signal from other goroutines
	proc  *boot.Process
	early syscall.Signal // came before listens; 0 for none

	listens bool // the first process has all signals blocked by now, and so keeps them for the command
}

// New makes a world: its name and lock, its directories, its cgroup, and its first process, which is bound to the calling
// thread: unless that is the main thread, the goroutine is locked to it until [World.Close], which it must call.
//
// Errors wrap [probe.ErrUnsupported] if this host cannot have such a world.
func New(spec Spec) (*World, error) {
	if err := state.CheckName(spec.Name); err != nil {
		return nil, err
	}
	w := &World{ID: newID(), spec: spec, lock: -1, upperFD: -1, memory: -1, slot: -1}
	var err error
	if w.candidates, err = spec.candidates(); err != nil {
		return nil, err
	}
	if err := w.make(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// newID is wld_ and a UUIDv7 in hex. No secret depends on it, and crypto/rand would start a timer, and with that the poller.
//
// Source: RFC 9562, section 5.7.
func newID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], rand.Uint64())
	binary.BigEndian.PutUint64(b[8:], rand.Uint64())
	ms := uint64(time.Now().UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	b[6], b[8] = b[6]&0x0f|0x70, b[8]&0x3f|0x80
	return "wld_" + hex.EncodeToString(b[:])
}

// crashpoint is called after each object was made; tests let the process die there.
var crashpoint = func(kind, path string) {}

// make is the part of New that can leave something behind.
func (w *World) make() error {
	run, err := state.RunRoot(w.spec.Dirs)
	if err != nil {
		return err
	}
	worlds, err := state.Worlds(run)
	if err != nil {
		return err
	}
	if w.slot, err = state.TakeSlot(run, w.spec.Slots, w.spec.Signals.wait); err != nil {
		return err
	}
	_, _ = state.GC(w.spec.Dirs, false)
	w.recall(run)
	w.bearEarly()
	overlays, err := w.overlayRoot()
	if err != nil {
		return err
	}
	claim, err := state.Take(worlds, w.spec.Name, w.spec.Root, w.spec.Dirs)
	if err != nil {
		return err
	}
	w.Name, w.dir, w.lock = claim.Name, claim.Dir, claim.Lock
	crashpoint(state.KindState, w.dir)
	groupDir := w.planGroup()
	w.file = state.World{ID: w.ID, Name: w.Name, Created: time.Now().UTC(), PID: os.Getpid(), Cwd: w.spec.Cwd, Strategy: w.candidates[0].Name}
	w.file.Objects = []state.Object{{Kind: state.KindState, Path: w.dir}}
	if groupDir != "" {
		w.file.Objects = append(w.file.Objects, state.Object{Kind: state.KindCgroup, Path: groupDir})
	}
	if overlays != "" {
		w.upperDir = filepath.Join(overlays, w.Name)
		w.file.Objects = append(w.file.Objects, state.Object{Kind: state.KindUpper, Path: w.upperDir})
	}
	if w.spec.Root {
		w.file.Objects = append(w.file.Objects, state.Object{Kind: state.KindNetns, Path: w.netnsName()})
	}
	if len(w.candidates) > 0 {
		w.file.Strategy = w.candidates[0].Name // nearly always the one that is taken, so that it need not be written again
	}
	if err := w.file.Write(w.dir); err != nil {
		return err
	}
	crashpoint("world.json", w.dir)
	w.makeGroup(groupDir)
	if err := w.makeUpperDir(); err != nil {
		return err
	}
	if err := w.settleEarly(); err != nil {
		return err
	}
	if w.shared, err = state.MakeShared(run); err != nil {
		return err
	}
	return w.nextView()
}

// upperDisk is the name of the degradation that no disk can hold an upper.
const upperDisk = "upper-disk"

// overlayRoot chooses where the upper goes; "" means memory.
func (w *World) overlayRoot() (string, error) {
	if w.spec.Upper != "" {
		return "", nil
	}
	if w.candidates[0].AnyDisk {
		return "", nil // chosen when it is the strategy's turn, by other rules
	}
	dir, err := state.UsableRoot("uppers", w.spec.Dirs.Overlay, state.HoldsUpper(w.spec.Root))
	if err == nil {
		return dir, nil
	}
	w.spec.Upper = "tmpfs:25%"
	w.degraded = append(w.degraded, Degradation{
		Name: upperDisk, Asked: true,
		Message: fmt.Sprintf("no disk can hold the changes, they are kept in memory, at most a quarter of it (%v)", err),
	})
	return "", nil
}

// forget takes an object out of the state, because it turned out to be somebody else's.
func (w *World) forget(kind string) {
	w.file.Objects = slices.DeleteFunc(w.file.Objects, func(o state.Object) bool { return o.Kind == kind })
	if err := w.file.Rewrite(w.dir); err != nil {
		w.degraded = append(w.degraded, Degradation{Name: "state", Message: err.Error()})
	}
}

func (w *World) netnsName() string { return netns.Prefix + w.Name }

// planGroup decides where the cgroup goes; "" if there is none to be had.
func (w *World) planGroup() string {
	parent, err := cgroup.Parent(w.spec.Root)
	if err != nil {
		if !w.wantScope(err) {
			w.noGroup(err)
		}
		return ""
	}
	return filepath.Join(parent, w.Name)
}

func (w *World) noGroup(err error) {
	if slices.ContainsFunc(w.degraded, func(d Degradation) bool { return d.Name == "cgroup" }) {
		return
	}
	w.unlimited()
	w.observe("cgroup", err.Error(), false)
	w.degraded = append(w.degraded, Degradation{
		Name: "cgroup", Asked: true,
		Message: "cgroup v2 unavailable or insufficient privileges; skipping cgroup attach",
	})
}

// makeGroup makes the cgroup. A world without one works; it is a degradation.
func (w *World) makeGroup(dir string) {
	if dir == "" {
		return
	}
	g, err := cgroup.New(dir)
	if err != nil {
		w.forget(state.KindCgroup)
		w.noGroup(err)
		return
	}
	crashpoint(state.KindCgroup, dir)
	if err := w.spec.Limits.missing(g); err != nil && w.wantScope(err) {
		err = g.Close()
		w.forget(state.KindCgroup)
		if err != nil {
			w.degraded = append(w.degraded, Degradation{Name: "cgroup-left", Message: err.Error()})
		}
		return
	}
	w.useGroup(g)
}

// useGroup takes g as the world's cgroup.
func (w *World) useGroup(g *cgroup.Group) {
	w.group = g
	for _, c := range g.Missing {
		w.degraded = append(w.degraded, Degradation{Name: "cgroup." + c, Message: "cgroup controller " + c + " is not available"})
	}
	w.limit()
}

// makeUpperDir makes and locks the directory of the uppers.
func (w *World) makeUpperDir() (err error) {
	if w.upperDir == "" {
		return nil
	}
	if w.upperFD, err = state.TakeUpper(w.upperDir); err == nil {
		crashpoint(state.KindUpper, w.upperDir)
	}
	return err
}

// observe reports a step to the caller.
func (w *World) observe(name, detail string, ok bool) {
	if w.spec.Observe != nil {
		w.spec.Observe(Step{Name: name, Detail: detail, OK: ok})
	}
}

// Signal sends sig to the command's process group. Before the command runs it makes [World.Run] give up, with [Interrupted], or reaches the
// command at its start; after that has ended it does nothing. It may be called from any goroutine.
func (w *World) Signal(sig syscall.Signal) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.proc == nil || !w.listens && sig != unix.SIGKILL {
		w.early = sig
		return nil
	}
	return w.proc.Signal(sig)
}

// interrupted is the error of a Run that a signal came before; nil if none did.
func (w *World) interrupted() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	sig := w.early
	if sig == 0 {
		sig = w.spec.Signals.held()
	}
	if sig == 0 {
		return nil
	}
	return &Interrupted{Signal: sig, What: "set up the world"}
}

// use makes p the first process.
func (w *World) use(p *boot.Process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proc, w.listens = p, false
}

// listen is called when the first process is about to start the command: signals go there from now on.
func (w *World) listen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listens = true
	if w.proc == nil {
		return
	}
	if w.early != 0 {
		_ = w.proc.Signal(w.early)
	}
	w.spec.Signals.passTo(w.proc.PID())
}

// endProcess ends all processes of the world and waits for them.
func (w *World) endProcess() error {
	w.mu.Lock()
	proc := w.proc
	w.proc = nil
	w.mu.Unlock()
	if proc == nil {
		return nil
	}
	w.spec.Signals.passTo(0) // the number will be another's
	return proc.Reap()
}

// Dismantle kills what still runs in the world and removes everything on the host that New and Run made. It does not wait for
// the end of the first process, which the kernel takes the namespaces down in, nor does it let go of the locks; that is left to [World.Close].
func (w *World) Dismantle() error {
	if w.dismantled {
		return nil
	}
	w.dismantled = true
	var err error
	if !w.ended {
		err = w.endProcess()
	}
	if w.view != nil {
		err = errors.Join(err, w.view.Close())
	}
	closeFD(&w.memory)
	if w.lock < 0 {
		return err
	}
	var early, late []state.Object
	for _, o := range w.file.Objects {
		if o.Kind == state.KindUpper || o.Kind == state.KindNetns {
			early = append(early, o)
		} else {
			late = append(late, o)
		}
	}
	err = errors.Join(err, state.Remove(early))
	if w.grouped { // the first process is in the cgroup too
		err = errors.Join(err, w.endProcess())
	}
	if w.group != nil {
		err = errors.Join(err, w.group.Close())
		w.group = nil
	}
	if err == nil {
		err = state.Remove(late)
	}
	return err
}

// Close is [World.Dismantle], and returns when nothing is left. It is safe to call twice.
func (w *World) Close() error {
	err := errors.Join(w.Dismantle(), w.endProcess())
	for _, fd := range []*int{&w.upperFD, &w.lock, &w.slot} {
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
