package show

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"substrate/fsdiff"
	"substrate/internal/world/state"
)

// Worlds is a table of worlds.
func Worlds(states []state.Listed, now time.Time) string {
	if len(states) == 0 {
		return "no worlds\n"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tPID\tAGE\tSTRATEGY\tCWD")
	for _, s := range states {
		state := "left over"
		if s.Alive {
			state = "running"
		}
		age := "-"
		if !s.Created.IsZero() {
			age = now.Sub(s.Created).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", s.Name, state, s.PID, age, cmp.Or(s.Strategy, "-"), fsdiff.Escape(s.Cwd))
	}
	_ = w.Flush() // to memory
	return b.String()
}

// Leftovers lists what crashed worlds left behind and what was done about it.
func Leftovers(found []state.Listed, dryRun bool) string {
	if len(found) == 0 {
		return "nothing left over\n"
	}
	var b strings.Builder
	for _, l := range found {
		switch {
		case l.Error != "":
			fmt.Fprintf(&b, "kept %s: %s\n", l.Name, l.Error)
		case dryRun:
			fmt.Fprintf(&b, "would remove %s: %s\n", l.Name, objectsOf(&l))
		default:
			fmt.Fprintf(&b, "removed %s\n", l.Name)
		}
	}
	return b.String()
}

// objectsOf lists what a crashed world may have left, in one line.
func objectsOf(l *state.Listed) string {
	if len(l.Objects) == 0 {
		return fsdiff.Escape(l.Dir)
	}
	var parts []string
	for _, o := range l.Objects {
		parts = append(parts, o.Kind+" "+fsdiff.Escape(o.Path))
	}
	return strings.Join(parts, ", ")
}
