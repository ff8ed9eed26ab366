package world

import (
	"fmt"

	"substrate/internal/world/cgroup"
)

// wantScope says whether the user's systemd is to be asked for a cgroup because the caller's own one cannot serve, and
// why. It can be asked only when there is a process to put there, see [World.enterScope].
func (w *World) wantScope(why error) bool {
	if w.spec.Root || w.spec.Bus == "" {
		return false
	}
	w.noDivide = why
	return true
}

// enterScope puts the process pid, which waits, into a cgroup that systemd makes for it. The state file need not name
// that: it goes with its last process, and the first process dies with its supervisor.
func (w *World) enterScope(pid int) {
	g, err := cgroup.Scope(w.spec.Bus, w.Name, pid)
	if err != nil {
		w.noGroup(fmt.Errorf("%w; %w", w.noDivide, err))
		return
	}
	w.useGroup(g)
}
