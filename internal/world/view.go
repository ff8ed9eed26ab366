package world

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/landlock"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// prepare lets a strategy plan the file view, and make on disk what it needs.
func (w *World) prepare(s view.Strategy) error {
	if s.AnyDisk {
		if err := w.toDisk(s); err != nil {
			return err
		}
	}
	r, err := w.request()
	if err != nil {
		return err
	}
	if s.InPlace != nil && w.spec.only == nil {
		if err := try(Host{Dirs: w.spec.Dirs, Root: w.spec.Root}, s); passes(err) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
			return err // no reason for less isolation; want of room the copy itself will tell of
		} else if err != nil {
			failed := rejection(s.Name, fmt.Errorf("at the same path: %w", err))
			w.rejected = append(w.rejected, failed)
			w.observe(s.Name, failed.Reason+"; trying another path", false)
			s = *s.InPlace
			if err := w.confinable(); err != nil {
				return err
			}
		}
	}
	if !s.CwdOnly {
		if w.view, err = s.Prepare(r); err != nil {
			return err
		}
		return w.noteServers()
	}
	done, interrupted := stopping(r, w.spec.Signals.wait())
	w.view, err = s.Prepare(r)
	close(done)
	if sig := <-interrupted; sig != nil {
		return &Interrupted{Signal: sig, What: "copy " + w.spec.Cwd}
	}
	return err
}

// confinable says why a command without a mount namespace cannot be had by who requires isolation: what it writes outside its copy would
// be neither prevented nor listed.
func (w *World) confinable() error {
	if !w.spec.Require {
		return nil
	}
	if _, err := landlock.Version(); err != nil {
		return fmt.Errorf("keep the command from the files outside a copy: %w", err)
	}
	return nil
}

// noteServers writes down, before the first of them is started, that processes will serve mounts of the world.
func (w *World) noteServers() error {
	if _, served := w.view.(view.Served); !served {
		return nil
	}
	w.file.Objects = append(w.file.Objects, state.Object{Kind: state.KindServers, Path: w.upperDir})
	return w.file.Rewrite(w.dir)
}

// stopping makes a signal that arrives before done is closed end the work for r. It is what interrupted gives then.
func stopping(r *view.Request, stop <-chan os.Signal) (done chan struct{}, interrupted <-chan os.Signal) {
	done, got, stopped := make(chan struct{}), make(chan os.Signal, 1), make(chan struct{})
	r.Stop = stopped
	go func() {
		defer close(got)
		select {
		case sig := <-stop:
			got <- sig
			close(stopped)
		case <-done:
		}
	}()
	return done, got
}

// request gathers what a view is planned from.
func (w *World) request() (*view.Request, error) {
	r := &view.Request{
		Root: w.spec.Root, Cwd: w.spec.Cwd, Likely: w.spec.Likely, Temp: w.spec.Temp,
		EmptyDir: w.shared.Nothing, Empty: w.shared.Empty, Resolv: w.shared.Resolv, Dir: w.upperDir, State: w.dir, Memory: w.shared.Memory,
	}
	r.CopyMax, r.Copying = w.spec.CopyMax, w.spec.Copying
	_, r.MemorySize, _ = strings.Cut(w.spec.Upper, ":")
	r.Hide = append(r.Hide, w.spec.Hide...)
	for _, dir := range w.stores() {
		// What is there but no store of ours stays in sight: behind a planted symlink it may be the caller's home.
		if state.CheckOwned(dir) == nil {
			r.Hide = append(r.Hide, dir)
		}
	}
	var err error
	if r.MountInfo, err = readMountInfo(); err != nil {
		return nil, fmt.Errorf("read the mounts of this machine: %w", err)
	}
	return r, nil
}

// stores are the roots that the world does not show. A trial works in one of them and shows them.
func (w *World) stores() []string {
	if w.spec.only != nil {
		return nil
	}
	return slices.Concat(w.spec.Dirs.Run, w.spec.Dirs.Overlay)
}

// viewNotes are what the view shows differently from the host.
func (w *World) viewNotes() []Degradation {
	var out []Degradation
	mounts := w.view.Mounts()
	for _, limit := range mounts.Limits {
		out = append(out, Degradation{Name: "fs-view", Message: limit, Asked: true})
	}
	for _, note := range mounts.Notes {
		out = append(out, Degradation{Name: "fs-view", Message: note})
	}
	return out
}

// diff adds to res what the command changed.
func (w *World) diff(res *Result) {
	limit := w.spec.DiffMax
	if limit <= 0 {
		limit = fsdiff.DefaultMax
	}
	b := fsdiff.New(w.spec.Cwd, res.Strategy, limit)
	found, err := w.view.Diff(b, w.memory)
	if errors.Is(err, view.ErrUntracked) {
		return // said when the strategy was chosen
	}
	res.UpperEntries = found.Entries
	if s, _ := view.Find(w.strategy); s.CwdOnly {
		res.Compared = &Compared{Before: found.Before, After: found.Entries}
	}
	for _, path := range found.ReadOnly {
		res.Degraded = append(res.Degraded, Degradation{Name: "fs-view", Message: path + ": the kernel refused an overlay over it; it was read-only in the world", Asked: true})
	}
	for _, note := range found.Notes {
		res.Degraded = append(res.Degraded, Degradation{Name: "diff", Message: note, Asked: true})
	}
	if err != nil {
		res.Degraded = append(res.Degraded, Degradation{Name: "diff", Message: "the list of changes is incomplete: " + err.Error(), Asked: true})
	}
	res.Diff = b.Finish()
}

// readMountInfo reads the mounts as the calling process sees them. It is on the way to every
// world, so it goes without the poller that package os puts a file into.
func readMountInfo() ([]byte, error) {
	fd, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 0, 16<<10)
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
}
