package view

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"substrate/fsdiff"
	"substrate/internal/world/landlock"
	"substrate/internal/world/layout"
	"substrate/internal/world/snapshot"
)

// prepareCopy copies the working directory and plans to mount the copy in its place, in a world
// whose other files are read-only.
func prepareCopy(r *Request) (View, error) {
	in := planInput(r, func(layout.PlaceKind, int) string { return "" })
	c, err := takeCopy(r, in, snapshot.Options{})
	if err != nil {
		return nil, err
	}
	plan, err := layout.MakeBound(in, c.s.Dst, c.s.Mounts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("plan the file view: %w", err), c.Close())
	}
	c.mounts = Mounts{List: plan.Mounts, Notes: plan.Notes}
	return c, nil
}

// copyInPlace runs the command in the copy, under another path, where there is no mount namespace.
var copyInPlace = Strategy{Name: CopyDiff, Trial: "copy_diff_ok", AnyDisk: true, CwdOnly: true, Prepare: prepareCopyInPlace}

func prepareCopyInPlace(r *Request) (View, error) {
	c, err := takeCopy(r, planInput(r, func(layout.PlaceKind, int) string { return "" }), snapshot.Options{NoDevices: true})
	if err != nil {
		return nil, err
	}
	p := &placeView{copyView: c, tmp: filepath.Join(r.Dir, "tmp")}
	p.version, p.refused = landlock.Version()
	p.mounts.Limits = p.limits()
	if err := os.Mkdir(p.tmp, 0o700); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return p, nil
}

// NotCopied is an error about a working directory that cannot be copied. It does not mean that the
// host lacks the strategy.
type NotCopied struct{ Err error }

// Error returns the text of the cause.
func (e *NotCopied) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *NotCopied) Unwrap() error { return e.Err }

// takeCopy makes the copy.
func takeCopy(r *Request, in layout.Input, o snapshot.Options) (*copyView, error) {
	around, err := layout.AroundCwd(in)
	if err != nil {
		return nil, fmt.Errorf("plan the file view: %w", err)
	}
	o.Max, o.Progress = r.CopyMax, r.Copying
	for _, hidden := range r.Hide {
		if real, err := filepath.EvalSymlinks(hidden); err == nil {
			o.Skip = append(o.Skip, below(around.Real, r.Cwd, real)...)
		}
	}
	for _, mount := range append(around.Remote, around.Kernel...) {
		o.Unasked = append(o.Unasked, below(around.Real, r.Cwd, mount)...)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if r.Stop != nil {
		go func() {
			select {
			case <-r.Stop:
				cancel()
			case <-ctx.Done():
			}
		}()
	}
	s, err := snapshot.Take(ctx, r.Cwd, filepath.Join(r.Dir, "copy"), o)
	if err != nil {
		return nil, &NotCopied{err}
	}
	for i, path := range s.Mounts {
		s.Mounts[i] = around.Real + strings.TrimPrefix(path, strings.TrimRight(r.Cwd, "/"))
	}
	return &copyView{s: s}, nil
}

// below returns path with real at its start replaced by cwd. It returns nothing if path is not
// below real.
func below(real, cwd, path string) []string {
	rest, ok := strings.CutPrefix(path, real+"/")
	if !ok {
		return nil
	}
	return []string{strings.TrimRight(cwd, "/") + "/" + rest}
}

// copyView is a copy of the working directory.
type copyView struct {
	s      *snapshot.Snapshot
	mounts Mounts
}

func (c *copyView) Mounts() Mounts { return c.mounts }

func (c *copyView) Close() error { return c.s.Close() }

// Diff compares the copy with its first state.
func (c *copyView) Diff(b *fsdiff.Builder, _ int) (Found, error) {
	before, after, notes, err := c.s.Compare(b)
	return Found{Entries: after, Before: before, Notes: append(c.s.Notes, notes...)}, err
}

// placeView is a copy in which the command runs under the path of the copy.
type placeView struct {
	*copyView
	tmp     string // for temporary files
	version int    // of Landlock
	refused error  // why Landlock is not available; nil if it is
}

// WorkDir returns the path in the copy.
func (p *placeView) WorkDir(cwd string) string {
	if cwd == p.s.Src {
		return p.s.Dst
	}
	if rest, below := strings.CutPrefix(cwd, strings.TrimRight(p.s.Src, "/")+"/"); below {
		return filepath.Join(p.s.Dst, rest)
	}
	return cwd
}

// Env sets PWD and TMPDIR to places that the command may write to.
func (p *placeView) Env(env []string) []string {
	out := make([]string, 0, len(env)+1)
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		switch name {
		case "TMPDIR":
		case "PWD":
			out = append(out, "PWD="+p.WorkDir(value))
		default:
			out = append(out, v)
		}
	}
	return append(out, "TMPDIR="+p.tmp)
}

// writableFiles are files outside the copy that the command may write to.
var writableFiles = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts"}

// Confine lets the command write to the copy and nothing else, if the kernel supports Landlock.
func (p *placeView) Confine(open ...*os.File) error {
	if p.refused != nil {
		return nil
	}
	rules := landlock.Rules{Trees: []string{p.s.Dst, p.tmp}, Files: slices.Clone(writableFiles)}
	for _, f := range open {
		if f == nil {
			continue
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			rules.Files = append(rules.Files, "/proc/self/fd/"+strconv.Itoa(int(f.Fd())))
		}
	}
	return rules.Restrict()
}

// limits lists what this world does not do.
func (p *placeView) limits() []string {
	limits := []string{
		"mount namespaces are unavailable: the command runs in a copy of the working directory at another path, " + p.s.Dst,
		"the command can reach the host's processes and sockets (docker, systemd, an ssh agent), and what they do for it is neither prevented nor listed",
	}
	if p.refused != nil {
		return append(limits, "Landlock is unavailable: writes outside the copy are neither prevented nor listed")
	}
	limits = append(limits, "Landlock prevents writing to files outside the copy, but not changing their modes, owners, times and attributes, which is not listed")
	for _, gap := range landlock.Gaps(p.version) {
		limits = append(limits, fmt.Sprintf("Landlock is version %d: %s", p.version, gap))
	}
	return limits
}
