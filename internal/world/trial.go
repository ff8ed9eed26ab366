package world

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"substrate/fsdiff"
	"substrate/internal/probe"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// Host is what the answers about strategies depend on, as in Spec.
type Host struct {
	Dirs Dirs
	Root bool
}

// Answer is whether this host can have a strategy now.
type Answer struct {
	Strategy string
	Checks   []probe.Check // what it needs, in order; the last one that was made says why not

	passing bool // the reason may be over in a moment
}

// OK reports whether this host can have the strategy.
func (a *Answer) OK() bool { return len(a.Checks) == 0 || a.Checks[len(a.Checks)-1].OK }

// Rejected is the reason of an answer that is not OK.
func (a *Answer) Rejected() Rejected {
	if a.OK() {
		return Rejected{Strategy: a.Strategy}
	}
	last := a.Checks[len(a.Checks)-1]
	return Rejected{Strategy: a.Strategy, Reason: last.Reason, Remedy: last.Remedy}
}

// Choice is which strategy a world gets.
type Choice struct {
	Strategy string     // never "": direct always works
	Rejected []Rejected // the better ones
}

// Choose takes the first answer that is OK. That is what a world would get now that neither asks
// for a strategy nor requires isolation.
func Choose(answers []Answer) Choice {
	c := Choice{Strategy: view.Direct}
	for i := range answers {
		if answers[i].OK() {
			c.Strategy = answers[i].Strategy
			break
		}
		c.Rejected = append(c.Rejected, answers[i].Rejected())
	}
	return c
}

// Ask tries all strategies, the best first, and records for later worlds which ones fail.
func Ask(h Host) []Answer {
	var answers []Answer
	var failed []Rejected
	var works []string
	for _, s := range view.Strategies() {
		a := ask(h, s)
		answers = append(answers, a)
		if a.OK() {
			works = append(works, s.Name)
		} else if !a.passing {
			failed = append(failed, a.Rejected())
		}
	}
	if run, err := state.RunRoot(h.Dirs); err == nil {
		saveFailures(run, &Spec{Dirs: h.Dirs, Root: h.Root}, failed, works)
	}
	return answers
}

// confirmFailure asks once more for a strategy that failed in a real world. If it fails in a small
// one as well, the host is the reason and later worlds need not try it; else this world was too
// much for it.
func (w *World) confirmFailure(strategy string) {
	s, _ := view.Find(strategy)
	if a := ask(Host{Dirs: w.spec.Dirs, Root: w.spec.Root}, s); !a.OK() && !a.passing {
		saveFailures(filepath.Dir(filepath.Dir(w.objects.dir)), &w.spec, []Rejected{a.Rejected()}, nil)
	}
}

// ask makes the checks of a strategy, and if they pass, a world.
func ask(h Host, s view.Strategy) Answer {
	a := Answer{Strategy: s.Name}
	if s.Checks != nil {
		a.Checks = s.Checks(h.Root)
	}
	if s.NoWorld || !a.OK() {
		return a
	}
	c := probe.Check{Name: s.Trial, OK: true}
	err := trial(h, s)
	if s.InPlace != nil && err != nil {
		err = trial(h, *s.InPlace)
	}
	if err != nil {
		r := rejection(s.Name, err)
		c = probe.Check{Name: c.Name, Reason: r.Reason, Remedy: r.Remedy}
		a.passing = passes(err)
	}
	a.Checks = append(a.Checks, c)
	return a
}

// trialText is what the command of a trial writes.
const trialText = "known"

// trialTime bounds the command of a trial, which has nothing to wait for.
const trialTime = 10 * time.Second

// trial makes a real world with the strategy, writes a file of known size in it, finds the file
// among the changes, which are read from the upper, and removes the world. That proves all that a
// replay needs. The mounts are in namespaces of their own, and the names on the host are those of a
// world, so gc finds them after a crash.
func trial(h Host, s view.Strategy) (err error) {
	cwd := os.TempDir()
	if !filepath.IsAbs(cwd) {
		cwd = "/tmp"
	}
	if s.CwdOnly {
		if cwd, err = emptyDirOf(h.Dirs); err != nil {
			return err
		}
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	name := "probe_" + hex.EncodeToString(id[:])
	// It works in one of the directories that a world hides, and so hides none.
	w := newWorld(Spec{Name: name, Dirs: h.Dirs, Root: h.Root, Cwd: cwd}, []view.Strategy{s}, nil)
	defer func() { err = errors.Join(err, w.Close()) }()
	if err := w.makeObjects(); err != nil {
		return err
	}
	if err := w.toDisk(s); err != nil {
		return err
	}
	if err := w.prepare(s); err != nil {
		return err
	}
	file := "substrate-" + name
	res, err := w.runOnce(&Command{
		Path: "/bin/sh", Argv: []string{"sh", "-c", "printf " + trialText + " >\"$0\"", file}, Dir: cwd, Timeout: trialTime, Env: []string{"PATH=/usr/bin:/bin"},
	})
	if err != nil {
		return err
	}
	return foundFile(res, file)
}

// emptyDirOf returns a directory on the host that every world has and that is empty there, so that
// a copy of it is made quickly.
func emptyDirOf(dirs Dirs) (string, error) {
	run, err := state.RunRoot(dirs)
	if err != nil {
		return "", err
	}
	shared, err := state.MakeShared(run)
	return shared.Memory, err
}

// foundFile reports why the diff of a trial is not what it must be.
func foundFile(res *Result, file string) error {
	switch {
	case res.ExecErr != nil:
		return res.ExecErr
	case res.Exit != 0:
		return fmt.Errorf("write a file in the world: status %d", res.Exit)
	case res.Diff == nil:
		return errors.New("the world has no list of changes")
	}
	for i := range res.Diff.Entries {
		e := &res.Diff.Entries[i]
		if filepath.Base(e.Raw()) == file && e.Kind == fsdiff.Create && e.Size == int64(len(trialText)) {
			return nil
		}
	}
	return errors.New("the file that was written in the world is not among its changes")
}
