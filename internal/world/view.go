package world

import (
	"fmt"
	"os"
	"path/filepath"

	"substrate/fsdiff"
	"substrate/internal/world/mount"
	"substrate/internal/world/worldfs"
	"substrate/internal/world/worldinit"
)

// view is the file view of a world: what is mounted, and where the changes will be found.
type view struct {
	staging string // empty directory on which the new root is built
	mounts  []mount.Mount
	memory  *worldinit.Memory
	uppers  []worldfs.Upper
}

func (w *World) upperInMemory() bool { return w.view.memory != nil }

func (w *World) newView() (*view, error) {
	v := &view{staging: filepath.Join(w.dir, "root")}
	if err := os.Mkdir(v.staging, 0o700); err != nil {
		return nil, fmt.Errorf("make the staging directory: %w", err)
	}
	base := filepath.Join(w.upperDir, "0")
	up, work := filepath.Join(base, "upper"), filepath.Join(base, "work")
	for _, d := range []string{base, up, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	os.Chmod(up, 0o755)
	v.mounts = []mount.Mount{
		{Kind: mount.Overlay, Step: "overlay", Target: "/", Lower: "/", Upper: up, Work: work, Data: mount.OptionsRoot},
		{Kind: mount.Proc, Step: "proc", Target: "/proc"},
		{Kind: mount.Tmpfs, Step: "run", Target: "/run", Mode: 0o755},
		{Kind: mount.Tmpfs, Step: "dev", Target: "/dev", Mode: 0o755},
	}
	for _, d := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		v.mounts = append(v.mounts, mount.Mount{Kind: mount.File, Step: "dev", Target: "/dev/" + d, Mode: 0o644}, mount.Mount{Kind: mount.Bind, Step: "dev", Target: "/dev/" + d, Source: "/dev/" + d})
	}
	v.uppers = []worldfs.Upper{{Dir: up, Lower: "/", Path: "/", Prefix: worldfs.TrustedPrefix, Index: filepath.Join(work, "index"), Skip: append([]string{"/dev", "/proc", "/run"}, w.spec.Hide...)}}
	return v, nil
}

// diff adds to res what the command changed.
func (w *World) diff(res *Result) {
	limit := w.spec.DiffMax
	if limit <= 0 {
		limit = fsdiff.DefaultMax
	}
	b := fsdiff.New(w.spec.Cwd, "overlay", limit)
	n, notes, err := worldfs.Walk(w.view.uppers, b)
	res.UpperEntries = n
	for _, note := range notes {
		res.Degraded = append(res.Degraded, Degradation{Name: "diff", Message: note, Asked: true})
	}
	if err != nil {
		res.Degraded = append(res.Degraded, Degradation{Name: "diff", Message: "the list of changes is incomplete: " + err.Error(), Asked: true})
	}
	res.Diff = b.Finish()
}
