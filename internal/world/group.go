package world

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"substrate/internal/world/cgroup"
	"substrate/internal/world/state"
)

// Limits bound what a world may consume (CGR2). 0 means no limit.
type Limits struct {
	Memory int64   // bytes, page cache included
	PIDs   int     // processes and threads of the command at once
	CPUs   float64 // processors' worth of time
}

// limit is one limit that was asked for.
type limit struct {
	controller string
	flag       string // by which users know it
	set        func(g *cgroup.Group) error
}

// asked lists the limits that are not 0.
func (l Limits) asked() (list []limit) {
	if l.Memory > 0 {
		list = append(list, limit{"memory", "--memory", func(g *cgroup.Group) error { return g.SetMemory(l.Memory) }})
	}
	if l.PIDs > 0 {
		list = append(list, limit{"pids", "--pids", func(g *cgroup.Group) error { return g.SetPIDs(l.PIDs) }})
	}
	if l.CPUs > 0 {
		list = append(list, limit{"cpu", "--cpus", func(g *cgroup.Group) error { return g.SetCPUs(l.CPUs) }})
	}
	return list
}

var errNoGroup = errors.New("the world has no cgroup")

// groupDir returns the directory for the cgroup; "" if the world gets none, or one from systemd.
func (w *World) groupDir() string {
	parent, err := cgroup.Parent(w.spec.Root)
	if err == nil {
		return filepath.Join(parent, w.Name)
	}
	if !w.wantScope(err) {
		w.report.noGroup(w.spec.Limits, err)
	}
	return ""
}

// makeGroup makes the cgroup dir; "" for none. A world works without one; that is a degradation.
func (w *World) makeGroup(dir string) {
	if dir == "" {
		return
	}
	g, err := cgroup.New(dir)
	if err != nil {
		w.forget(state.KindCgroup)
		w.report.noGroup(w.spec.Limits, err)
		return
	}
	crashpoint(state.KindCgroup, dir)
	for _, asked := range w.spec.Limits.asked() {
		if slices.Contains(g.Missing, asked.controller) && w.wantScope(errors.New("the cgroup "+g.Path+" has no controller "+asked.controller)) {
			err := g.Close()
			w.forget(state.KindCgroup)
			if err != nil {
				w.report.degrade(Degradation{Name: "cgroup-left", Message: err.Error()})
			}
			return
		}
	}
	w.useGroup(g)
}

// useGroup makes g the world's cgroup.
func (w *World) useGroup(g *cgroup.Group) {
	w.group = g
	for _, c := range g.Missing {
		w.report.degrade(Degradation{Name: "cgroup." + c, Message: "cgroup controller " + c + " is not available"})
	}
	w.report.setLimits(w.spec.Limits, g)
}

// wantScope reports whether the user's systemd is to make the cgroup, because the caller's own
// cannot be used for the reason why. Systemd needs a process to put there, see [World.enterScope].
func (w *World) wantScope(why error) bool {
	if w.spec.Root || w.spec.Bus == "" {
		return false
	}
	w.noDivide = why
	return true
}

// enterScope puts the process pid, which waits, into a cgroup that systemd makes for it. The state
// file need not name it: the cgroup goes with its last process, and the init process dies with its
// supervisor.
func (w *World) enterScope(pid int) {
	g, err := cgroup.Scope(w.spec.Bus, w.Name, pid)
	if err != nil {
		w.report.noGroup(w.spec.Limits, fmt.Errorf("%w; %w", w.noDivide, err))
		return
	}
	w.useGroup(g)
}

// reservePIDForInit leaves room in the limit of g for the init process, which is in g as well.
func reservePIDForInit(l Limits, g *cgroup.Group) {
	if l.PIDs > 0 {
		_ = g.SetPIDs(l.PIDs + 1) // setLimits has reported an error
	}
}
