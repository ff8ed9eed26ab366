package world

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"substrate/internal/hostfile"
	"substrate/internal/probe"
	"substrate/internal/world/landlock"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/snapshot"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// Rejected is a strategy that this host, or this request, cannot have.
type Rejected struct {
	Strategy string
	Reason   string // one line
	Remedy   string // one hint; may be empty
}

// String is the reason as it stands in fs_fallback_reasons.
func (r Rejected) String() string { return r.Strategy + ": " + r.Reason }

// rejection turns an error of a strategy into a value.
func rejection(strategy string, err error) Rejected {
	r := Rejected{Strategy: strategy, Reason: strings.ReplaceAll(err.Error(), "\n", "; ")}
	var known *probe.Error
	if errors.As(err, &known) {
		r.Remedy = known.Remedy
	}
	return r
}

// Strategies returns the names of all strategies, the best first (WLD3).
func Strategies() []string {
	var names []string
	for _, s := range view.Strategies() {
		names = append(names, s.Name)
	}
	return names
}

// candidates returns the strategies that spec allows, the best first (WLD3, RPL5).
func candidates(spec *Spec) ([]view.Strategy, error) {
	if spec.Strategy == "" {
		all := view.Strategies()
		if spec.Require {
			all = slices.DeleteFunc(all, func(c view.Strategy) bool { return c.NoWorld })
		}
		return all, nil
	}
	c, found := view.Find(spec.Strategy)
	switch {
	case !found:
		return nil, fmt.Errorf("unknown strategy %q; want one of %s", spec.Strategy, strings.Join(Strategies(), ", "))
	case spec.Require && c.NoWorld:
		return nil, errRequired
	}
	return []view.Strategy{c}, nil
}

// errRequired is for a caller that requires isolation and asks for the strategy without any.
var errRequired = &probe.Error{
	What: "run the command", Err: errors.New("a world is required, and the strategy direct does not make one"),
	Remedy: "drop --strategy direct, or drop --require-world and unset SUBSTRATE_REQUIRE_WORLD",
}

// selection is how far the choice of a strategy has come.
type selection struct {
	candidates []view.Strategy // not tried yet, the best first
	rejected   []Rejected      // tried in vain, or known to fail
}

// selectView takes the first candidate that can plan a view. That one and those before it are no
// longer candidates. The kernel may still refuse the mounts, see [World.fallBack].
func (w *World) selectView() error {
	for len(w.selection.candidates) > 0 {
		s := w.selection.candidates[0]
		w.selection.candidates = w.selection.candidates[1:]
		name := s.Name
		err := w.toDisk(s)
		if err == nil {
			s, err = w.mountable(s)
		}
		if err == nil {
			err = w.prepare(s)
		}
		if err == nil {
			w.report.step("strategy", name, true)
			if w.objects.file.Strategy == name {
				return nil
			}
			w.objects.file.Strategy = name
			return w.objects.file.Rewrite(w.objects.dir)
		}
		var stopped *Interrupted
		if errors.As(err, &stopped) {
			return err
		}
		if err := w.reject(name, err); err != nil {
			return err
		}
	}
	return noView(w.selection.rejected)
}

// fallBack takes the next strategy after the kernel refused the view of this one. Everything of the
// failed attempt is removed but the name, the cgroup and the directories.
func (w *World) fallBack(failure *setupError) error {
	failed := w.attempt.strategy
	err := w.dropInit()
	closeFD(&w.attempt.memory)
	if w.spec.Root {
		err = errors.Join(err, netns.Unbind(w.netnsName()))
	}
	if s, _ := view.Find(failed); s.InPlace != nil && w.confinable() == nil {
		w.selection.candidates = slices.Insert(w.selection.candidates, 0, *s.InPlace)
	}
	if err := errors.Join(w.reject(failed, failure), err); err != nil {
		return err
	}
	w.confirmFailure(failed)
	return w.selectView()
}

// reject records why a strategy failed and clears the way for the next. It returns an error if
// there is none, or none that may be taken for that reason.
func (w *World) reject(name string, reason error) error {
	r := rejection(name, reason)
	w.selection.rejected = append(w.selection.rejected, r)
	switch {
	case len(w.selection.candidates) == 0 && w.spec.Strategy != "":
		return reason
	case len(w.selection.candidates) == 0:
		return noView(w.selection.rejected)
	}
	next := &w.selection.candidates[0]
	if next.NoWorld && !ofHost(reason) {
		return refuseDirect(reason)
	}
	w.report.step(name, r.Reason+"; trying "+next.Name, false)
	var err error
	if w.attempt.view != nil {
		err = w.attempt.view.Close()
		w.attempt.view = nil
	}
	if w.objects.upperDir != "" {
		err = errors.Join(err, hostfile.Empty(w.objects.upperDir))
	}
	return err
}

// ofHost reports whether a strategy failed because this host cannot have it. A tree that does not
// fit, or a lack of something that may be available in a moment, is no reason to run without
// isolation.
func ofHost(reason error) bool {
	var notCopied *view.NotCopied
	return !errors.As(reason, &notCopied) && !passes(reason)
}

// passes reports whether err is about something that a busy or full machine may have again in a
// moment. At the set-up of a world ENOSPC is different: no more namespaces are allowed.
//
// Source: namespaces(7), "The /proc/sys/user directory".
func passes(err error) bool {
	var set *setupError
	if errors.As(err, &set) && errors.Is(err, unix.ENOSPC) {
		return false
	}
	return slices.ContainsFunc([]error{
		unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOSPC, unix.EDQUOT, unix.EINTR,
	}, func(e error) bool { return errors.Is(err, e) })
}

// refuseDirect explains why we do not fall back to the host: the failure was not caused by its
// configuration.
func refuseDirect(reason error) error {
	var known *probe.Error
	if errors.As(reason, &known) && known.Remedy != "" {
		return reason
	}
	return &probe.Error{What: "get an isolated view of the files", Err: reason, Remedy: "--strategy direct runs the command on the host itself"}
}

// noView explains why there is no view at all, with the remedy for the best strategy that has one.
func noView(rejected []Rejected) error {
	e := &probe.Error{What: "get an isolated view of the files", Err: errors.New(strings.Join(reasons(rejected), "; "))}
	for _, r := range rejected {
		if e.Remedy == "" {
			e.Remedy = r.Remedy
		}
	}
	return e
}

// reasons lists why strategies were not taken.
func reasons(rejected []Rejected) (list []string) {
	for _, r := range rejected {
		list = append(list, r.String())
	}
	return list
}

// strategyWarnings are the degradations that a strategy is by itself, in the words of RPL9. asked
// is the strategy that the caller asked for.
func strategyWarnings(strategy, asked string) []Degradation {
	s, _ := view.Find(strategy)
	if s.Warning == "" || asked != "" && !s.NoWorld {
		return nil
	}
	return []Degradation{{Name: s.Name, Asked: true, Message: s.Warning, Remedy: s.Remedy}}
}

// mountable returns s, or its weaker form if a trial shows that this host cannot mount s. The copy
// that s makes is too expensive to find that out afterwards.
func (w *World) mountable(s view.Strategy) (view.Strategy, error) {
	if s.InPlace == nil {
		return s, nil
	}
	err := trial(Host{Dirs: w.spec.Dirs, Root: w.spec.Root}, s)
	full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) // the copy itself will report it
	switch {
	case err == nil:
		return s, nil
	case passes(err) && !full:
		return s, err // no reason for less isolation
	}
	failed := rejection(s.Name, fmt.Errorf("at the same path: %w", err))
	w.selection.rejected = append(w.selection.rejected, failed)
	w.report.step(failed.Strategy, failed.Reason+"; trying another path", false)
	return *s.InPlace, w.confinable()
}

// confinable reports why a command must not run without a mount namespace for a caller who requires
// isolation: what it writes outside its copy would be neither prevented nor listed.
func (w *World) confinable() error {
	if !w.spec.Require {
		return nil
	}
	if _, err := landlock.Version(); err != nil {
		return fmt.Errorf("restrict the command to the copy: %w", err)
	}
	return nil
}

// toDisk gives the world a directory on disk for a strategy that needs one, if it has none because
// no disk can hold an upper of the kernel's overlay; or another one if the copied tree would hold
// it.
func (w *World) toDisk(s view.Strategy) error {
	if !s.AnyDisk {
		return nil
	}
	outside := func(dir string) error {
		if s.CwdOnly && holds(w.spec.Cwd, dir) {
			return snapshot.ErrHoldsScratch
		}
		return nil
	}
	o := &w.objects
	if o.upperDir != "" && outside(o.upperDir) == nil {
		return nil
	}
	root, err := state.UsableRoot("changes", w.spec.Dirs.Overlay, outside)
	if errors.Is(err, snapshot.ErrHoldsScratch) {
		return &probe.Error{What: "copy " + w.spec.Cwd, Err: &view.NotCopied{Err: err}, Remedy: "run it in a subdirectory, or choose another place with SUBSTRATE_OVERLAY_ROOT=DIR"}
	}
	if err != nil {
		return err
	}
	if o.upperDir != "" {
		if err := state.Remove([]state.Object{{Kind: state.KindUpper, Path: o.upperDir}}); err != nil {
			return err
		}
		closeFD(&o.upperFD)
		w.forget(state.KindUpper)
	}
	if w.report.has(upperDisk) {
		w.report.degraded = slices.DeleteFunc(w.report.degraded, func(d Degradation) bool { return d.Name == upperDisk })
	} else if w.spec.Upper != "" {
		w.report.degrade(Degradation{Name: upperDisk, Asked: true, Message: "the strategy " + s.Name + " keeps changes on disk; --upper " + w.spec.Upper + " does nothing"})
	}
	o.upperDir = filepath.Join(root, w.Name)
	if err := o.add(state.KindUpper, o.upperDir); err != nil {
		return err
	}
	return o.takeUpper(o.upperDir)
}

// holds reports whether path is tree or lies in it, symlinks followed.
func holds(tree, path string) bool {
	if real, err := filepath.EvalSymlinks(tree); err == nil {
		tree = real
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path == tree || strings.HasPrefix(path, strings.TrimRight(tree, "/")+"/")
}
