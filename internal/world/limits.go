package world

import (
	"errors"
	"slices"

	"substrate/internal/world/cgroup"
)

// Limits bound what a world may consume (CGR2). 0 means no limit.
type Limits struct {
	Memory int64   // bytes, page cache included
	PIDs   int     // processes and threads of the command at once
	CPUs   float64 // processors' worth of time
}

// any says whether a limit was asked for.
func (l Limits) any() bool { return l != Limits{} }

// missing says which controller g lacks for a limit that was asked for.
func (l Limits) missing(g *cgroup.Group) error {
	for controller, asked := range map[string]bool{"memory": l.Memory > 0, "pids": l.PIDs > 0, "cpu": l.CPUs > 0} {
		if asked && slices.Contains(g.Missing, controller) {
			return errors.New("the cgroup " + g.Path + " has no controller " + controller)
		}
	}
	return nil
}

// limit sets the limits of the cgroup. One that cannot be had is a degradation: the caller
// asked, so it is printed.
func (w *World) limit() {
	l, g := w.spec.Limits, w.group
	if l.Memory > 0 {
		w.limited("memory", g.SetMemory(l.Memory))
	}
	if l.PIDs > 0 {
		w.limited("pids", g.SetPIDs(l.PIDs))
	}
	if l.CPUs > 0 {
		w.limited("cpu", g.SetCPUs(l.CPUs))
	}
}

// countFirst leaves room in the limit for the first process, where that is in the cgroup too.
func (w *World) countFirst() {
	if n := w.spec.Limits.PIDs; n > 0 && w.grouped {
		_ = w.group.SetPIDs(n + 1) // what keeps it from that has been said
	}
}

// limitFlags are the words that users know the limits by.
var limitFlags = map[string]string{"memory": "--memory", "pids": "--pids", "cpu": "--cpus"}

// limited notes whether the limit of a controller is in force.
func (w *World) limited(controller string, err error) {
	if err == nil {
		w.observe("limit "+controller, "ok", true)
		return
	}
	w.observe("limit "+controller, err.Error(), false)
	w.degraded = append(w.degraded, Degradation{
		Name: "limit." + controller, Asked: true,
		Message: limitFlags[controller] + " is not in force: " + err.Error(),
	})
}

var errNoGroup = errors.New("the world has no cgroup")

// unlimited notes that no limit is in force, because there is no cgroup.
func (w *World) unlimited() {
	l := w.spec.Limits
	if !l.any() {
		return
	}
	for _, c := range []struct {
		name  string
		asked bool
	}{{"memory", l.Memory > 0}, {"pids", l.PIDs > 0}, {"cpu", l.CPUs > 0}} {
		if c.asked {
			w.limited(c.name, errNoGroup)
		}
	}
}

// outOfMemory says whether the kernel has killed a process of the world for want of memory.
func (w *World) outOfMemory() bool { return w.group != nil && w.group.Usage().OOMKills > 0 }
