package world

import (
	"slices"

	"substrate/internal/world/cgroup"
)

// report collects what the world has to do without, and passes on the steps of the set-up.
type report struct {
	observe  func(Step) // may be nil
	degraded []Degradation
}

// step reports a step of the set-up to the caller of New.
func (r *report) step(name, detail string, ok bool) {
	if r.observe != nil {
		r.observe(Step{Name: name, Detail: detail, OK: ok})
	}
}

func (r *report) degrade(d Degradation) { r.degraded = append(r.degraded, d) }

// has reports whether there is a degradation of that name.
func (r *report) has(name string) bool {
	return slices.ContainsFunc(r.degraded, func(d Degradation) bool { return d.Name == name })
}

// noGroup records, once, that the world has no cgroup, and so no limits.
func (r *report) noGroup(l Limits, err error) {
	if r.has("cgroup") {
		return
	}
	r.setLimits(l, nil)
	r.step("cgroup", err.Error(), false)
	r.degrade(Degradation{
		Name: "cgroup", Asked: true,
		Message: "cgroup v2 unavailable or insufficient privileges; skipping cgroup attach",
	})
}

// setLimits sets the limits of g, which may be nil. A limit that is not in force is a degradation:
// the caller asked for it.
func (r *report) setLimits(l Limits, g *cgroup.Group) {
	for _, asked := range l.asked() {
		err := errNoGroup
		if g != nil {
			err = asked.set(g)
		}
		if err == nil {
			r.step("limit "+asked.controller, "ok", true)
			continue
		}
		r.step("limit "+asked.controller, err.Error(), false)
		r.degrade(Degradation{
			Name: "limit." + asked.controller, Asked: true,
			Message: asked.flag + " is not enforced: " + err.Error(),
		})
	}
}
