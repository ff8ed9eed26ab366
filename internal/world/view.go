package world

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// prepare lets a strategy plan the file view, and make on disk what it needs.
func (w *World) prepare(s view.Strategy) error {
	r, err := w.request()
	if err != nil {
		return err
	}
	if s.CwdOnly {
		done, interrupted := stopping(r, w.spec.Signals.wait())
		w.attempt.view, err = s.Prepare(r)
		close(done)
		if sig := <-interrupted; sig != nil {
			return &Interrupted{Signal: sig, What: "copy " + w.spec.Cwd}
		}
	} else {
		w.attempt.view, err = s.Prepare(r)
	}
	if err != nil {
		return err
	}
	w.attempt.strategy = s.Name
	if _, served := w.attempt.view.(view.Served); served { // recorded before the first of them is started
		return w.objects.add(state.KindServers, w.objects.upperDir)
	}
	return nil
}

// stopping makes a signal end the work for r, until the caller closes done. Then interrupted gives
// the signal, or nil.
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
	spec, shared := &w.spec, &w.shared
	r := &view.Request{
		Root: spec.Root, Cwd: spec.Cwd, Likely: spec.Likely, Temp: spec.Temp, Hide: slices.Clone(spec.Hide),
		EmptyDir: shared.Nothing, Empty: shared.Empty, Resolv: shared.Resolv, Memory: shared.Memory,
		Dir: w.objects.upperDir, State: w.objects.dir, CopyMax: spec.CopyMax, Copying: spec.Copying,
	}
	_, r.MemorySize, _ = strings.Cut(spec.Upper, ":")
	for _, dir := range w.stores {
		// A directory that is no store of ours stays visible: behind a planted symlink it may be
		// the caller's home.
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

// viewNotes are what the view shows differently from the host.
func viewNotes(mounts view.Mounts) []Degradation {
	var out []Degradation
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
	found, err := w.attempt.view.Diff(b, w.attempt.memory)
	if errors.Is(err, view.ErrUntracked) {
		return // strategyWarnings says so
	}
	res.UpperEntries = found.Entries
	if res.Strategy == view.CopyDiff {
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

// readMountInfo reads the mounts as the calling process sees them. Every world needs them, so it
// does without the poller to which package os adds a file.
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
