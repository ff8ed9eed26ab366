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
	"substrate/internal/world/boot"
	"substrate/internal/world/net/netns"
	"substrate/internal/world/snapshot"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// Rejected is a strategy that could not be had.
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
func (s *Spec) candidates() ([]view.Strategy, error) {
	if s.only != nil {
		return []view.Strategy{*s.only}, nil
	}
	if s.Strategy == "" {
		all := view.Strategies()
		if s.Require {
			all = slices.DeleteFunc(all, func(c view.Strategy) bool { return c.NoWorld })
		}
		return all, nil
	}
	c, found := view.Find(s.Strategy)
	switch {
	case !found:
		return nil, fmt.Errorf("strategy %q is not known; there are %s", s.Strategy, strings.Join(Strategies(), ", "))
	case s.Require && c.NoWorld:
		return nil, errRequired
	}
	return []view.Strategy{c}, nil
}

// errRequired is the answer to who wants isolation and asks for none.
var errRequired = &probe.Error{
	What: "run the command", Err: errors.New("a world is required, and the strategy direct is none"),
	Remedy: "leave --strategy direct out, or --require-world and SUBSTRATE_REQUIRE_WORLD",
}

// nextView takes the first of the candidates that can plan a view. The one that was taken and those before it are no candidates any more.
func (w *World) nextView() error {
	for len(w.candidates) > 0 {
		s := w.candidates[0]
		w.candidates = w.candidates[1:]
		err := w.prepare(s)
		if err == nil {
			w.strategy = s.Name
			w.observe("strategy", w.strategy, true)
			return w.noteStrategy()
		}
		var stopped *Interrupted
		if errors.As(err, &stopped) {
			return err
		}
		if err := w.reject(s.Name, err); err != nil {
			return err
		}
	}
	return w.noView()
}

// noteStrategy writes the strategy down if it is not the one that was expected.
func (w *World) noteStrategy() error {
	if w.file.Strategy == w.strategy {
		return nil
	}
	w.file.Strategy = w.strategy
	return w.file.Rewrite(w.dir)
}

// strategyWarnings are the degradations that a strategy is by itself, in the words of RPL9.
func (w *World) strategyWarnings() []Degradation {
	s, _ := view.Find(w.strategy)
	if s.Warning == "" || w.spec.Strategy != "" && !s.NoWorld {
		return nil
	}
	return []Degradation{{Name: s.Name, Asked: true, Message: s.Warning, Remedy: s.Remedy}}
}

// reject notes why a strategy cannot be had and makes way for the next. The error is the reason itself if there is none.
func (w *World) reject(name string, reason error) error {
	w.rejected = append(w.rejected, rejection(name, reason))
	if len(w.candidates) == 0 {
		if w.spec.Strategy != "" || w.spec.only != nil {
			return reason
		}
		return w.noView()
	}
	if w.candidates[0].NoWorld && !ofHost(reason) {
		return instead(reason)
	}
	w.observe(name, w.rejected[len(w.rejected)-1].Reason+"; trying "+w.candidates[0].Name, false)
	return w.clearView()
}

// ofHost says whether a strategy failed because this host cannot have it. A tree that does not fit, or want of something that may be there in a
// moment, is no reason to run without isolation.
func ofHost(reason error) bool {
	var notCopied *view.NotCopied
	return !errors.As(reason, &notCopied) && !passes(reason)
}

// passes says whether err is about something that a busy or full machine may have again in a moment. At the set-up of a world ENOSPC is no such
// thing: it says that no more namespaces are allowed.
//
// Source: namespaces(7), "The /proc/sys/user directory".
func passes(err error) bool {
	var set *setupFailure
	if errors.As(err, &set) && errors.Is(err, unix.ENOSPC) {
		return false
	}
	return slices.ContainsFunc([]error{
		unix.EAGAIN, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.ENOSPC, unix.EDQUOT, unix.EINTR,
	}, func(e error) bool { return errors.Is(err, e) })
}

// instead is the answer to who would get the host itself instead of a world for a reason that is not the host's.
func instead(reason error) error {
	const remedy = "--strategy direct runs the command on the host itself"
	var known *probe.Error
	if errors.As(reason, &known) && known.Remedy != "" {
		return reason
	}
	return &probe.Error{What: "get an isolated view of the files", Err: reason, Remedy: remedy}
}

// noView says why there is no view at all, with the remedy for the best strategy that has one.
func (w *World) noView() error {
	e := &probe.Error{What: "get an isolated view of the files"}
	var reasons []string
	for _, r := range w.rejected {
		reasons = append(reasons, r.String())
		if e.Remedy == "" {
			e.Remedy = r.Remedy
		}
	}
	e.Err = errors.New(strings.Join(reasons, "; "))
	return e
}

// clearView removes what a strategy that failed has made.
func (w *World) clearView() error {
	var err error
	if w.view != nil {
		err = w.view.Close()
		w.view = nil
	}
	if w.upperDir != "" {
		err = errors.Join(err, hostfile.Empty(w.upperDir))
	}
	return err
}

// fellBack lists the reasons of the better strategies.
func (w *World) fellBack() []string {
	var out []string
	for _, r := range w.rejected {
		out = append(out, r.String())
	}
	return out
}

// toDisk gives the world a directory on disk if it has none because no disk can hold an upper of the kernel's overlay, or another one if
// what is copied would hold it.
func (w *World) toDisk(s view.Strategy) error {
	outside := func(dir string) error {
		if s.CwdOnly && holds(w.spec.Cwd, dir) {
			return snapshot.ErrHoldsScratch
		}
		return nil
	}
	if w.upperDir != "" && outside(w.upperDir) == nil {
		return nil
	}
	root, err := state.UsableRoot("changes", w.spec.Dirs.Overlay, outside)
	if errors.Is(err, snapshot.ErrHoldsScratch) {
		return &probe.Error{What: "copy " + w.spec.Cwd, Err: &view.NotCopied{Err: err}, Remedy: "work in a directory below, or choose another place with SUBSTRATE_OVERLAY_ROOT=DIR"}
	}
	if err != nil {
		return err
	}
	if w.upperDir != "" {
		if err := state.Remove([]state.Object{{Kind: state.KindUpper, Path: w.upperDir}}); err != nil {
			return err
		}
		closeFD(&w.upperFD)
		w.forget(state.KindUpper)
	}
	told := len(w.degraded)
	w.degraded = slices.DeleteFunc(w.degraded, func(d Degradation) bool { return d.Name == upperDisk })
	if w.spec.Upper != "" && told == len(w.degraded) {
		w.degraded = append(w.degraded, Degradation{Name: upperDisk, Asked: true, Message: "the strategy " + s.Name + " keeps changes on disk; --upper " + w.spec.Upper + " does nothing"})
	}
	w.upperDir = filepath.Join(root, w.Name)
	w.file.Objects = append(w.file.Objects, state.Object{Kind: state.KindUpper, Path: w.upperDir})
	if err := w.file.Rewrite(w.dir); err != nil {
		return err
	}
	return w.makeUpperDir()
}

// holds says whether path is tree or lies in it, symlinks followed.
func holds(tree, path string) bool {
	if real, err := filepath.EvalSymlinks(tree); err == nil {
		tree = real
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path == tree || strings.HasPrefix(path, strings.TrimRight(tree, "/")+"/")
}

// fallThrough takes the next strategy after the set-up of a world failed. Everything of the first attempt goes, but for the name, the
// cgroup and the directories.
func (w *World) fallThrough(failure *setupFailure) error {
	err := w.dropProcess()
	closeFD(&w.memory)
	w.mu.Lock()
	if w.early == boot.SignalTermAll {
		w.early = 0 // the set-up took too long; the next one has its own time
	}
	w.mu.Unlock()
	if w.spec.Root {
		err = errors.Join(err, netns.Unbind(w.netnsName()))
	}
	failed := w.strategy
	if s, _ := view.Find(failed); s.InPlace != nil && w.spec.only == nil && w.confinable() == nil {
		w.candidates = slices.Insert(w.candidates, 0, *s.InPlace)
	}
	if err := errors.Join(w.reject(failed, failure), err); err != nil {
		return err
	}
	w.learn(failed)
	return w.nextView()
}
