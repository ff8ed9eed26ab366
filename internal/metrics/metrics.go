// Package metrics computes numbers for Prometheus from a trace.
//
// No process keeps counting: the trace is read each time. So the numbers fall when lines are
// rotated away or compacted, which Prometheus takes for a restart. The content of a trace is not
// trusted: the value of a label is one of a fixed list, or "other".
//
// The text is written by hand: the client library of Prometheus more than doubles the start-up
// time.
package metrics

import (
	"slices"
	"strconv"
	"strings"

	"substrate/trace"
)

// maxNames bounds the number of names of degraded components, and their length in bytes.
const maxNames = 64

var (
	components = []string{trace.ComponentShell, trace.ComponentShim, trace.ComponentReplay, trace.ComponentWorld}
	strategies = []string{"overlay", "fuse", "copy-diff", "direct"}
	seconds    = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	sizes      = []float64{0, 1, 10, 100, 1000, 10000, 100000}
)

// Metrics are sums over spans. The zero value is not ready; see [New].
type Metrics struct {
	spans, incomplete, durations                      *family
	created, failed, setup, teardown, degraded        *family
	nft, diffs, entries, truncated, blocked, oomKills *family

	names map[string]bool // of degraded components
}

// New returns the metrics of no spans.
func New() *Metrics {
	m := &Metrics{
		spans:      newFamily("counter", "substrate_spans_total", "Commands that ended, by component and exit status.", "component", "exit"),
		incomplete: newFamily("gauge", "substrate_spans_incomplete", "Commands whose end is not recorded: running, or substrate was killed.", "component"),
		durations:  newFamily("summary", "substrate_span_duration_seconds", "How long commands took.", "component"),
		created:    newFamily("counter", "substrate_worlds_created_total", "Worlds in which a command ran, by strategy.", "strategy"),
		failed:     newFamily("counter", "substrate_worlds_failed_total", "Strategies that did not work for a world; none: no world could be made.", "strategy"),
		setup:      newHistogram("substrate_world_setup_seconds", "Time from the beginning of a world to the start of its command.", seconds, "strategy"),
		teardown:   newHistogram("substrate_world_teardown_seconds", "Time from the end of a world's command until nothing of it is left, the list of changes included.", seconds, "strategy"),
		degraded:   newFamily("counter", "substrate_world_degraded_total", "Worlds in which a component was unavailable.", "component"),
		nft:        newFamily("counter", "substrate_nft_failures_total", "Worlds without rules for the network."),
		diffs:      newHistogram("substrate_fs_diff_entries", "Number of file changes of a command.", sizes),
		entries:    newFamily("counter", "substrate_fs_diff_changes_total", "File changes by kind.", "kind"),
		truncated:  newFamily("counter", "substrate_fs_diff_truncated_total", "Lists of file changes that were cut."),
		blocked:    newFamily("counter", "substrate_network_blocked_total", "Peers that worlds were kept from."),
		oomKills:   newFamily("counter", "substrate_world_oom_kills_total", "Processes that the memory limit of a world killed."),
		names:      make(map[string]bool),
	}
	for _, c := range []*family{m.nft, m.truncated, m.blocked, m.oomKills} {
		c.add(0) // without labels there is always a value
	}
	return m
}

// Add counts a span.
func (m *Metrics) Add(s *trace.Span) {
	r := s.Last()
	component := known(r.Component, components)
	if s.Incomplete() {
		m.incomplete.add(1, component)
		return
	}
	exit := "other"
	if r.Exit >= 0 && r.Exit <= 255 {
		exit = strconv.Itoa(r.Exit)
	}
	m.spans.add(1, component, exit)
	m.durations.add(float64(r.DurationMS)/1e3, component)
	m.addWorld(r)
	m.addDiff(r)
	for _, scope := range r.ScopesUsed {
		if strings.HasPrefix(scope, "net.block:") {
			m.blocked.add(1)
		}
	}
}

func (m *Metrics) addWorld(r *trace.Record) {
	strategy := known(r.FSStrategy, strategies)
	switch {
	case r.WorldID != "":
		m.created.add(1, strategy)
	case slices.Contains(r.DegradedComponents, "world"):
		m.failed.add(1, "none")
	}
	for _, reason := range r.FSFallbackReasons {
		name, _, _ := strings.Cut(reason, ":")
		m.failed.add(1, known(name, strategies))
	}
	if r.SetupUS > 0 {
		m.setup.add(float64(r.SetupUS)/1e6, strategy)
	}
	if r.TeardownUS > 0 {
		m.teardown.add(float64(r.TeardownUS)/1e6, strategy)
	}
	if r.OOMKills > 0 {
		m.oomKills.add(float64(r.OOMKills))
	}
	for _, name := range r.DegradedComponents {
		if name == "nft" {
			m.nft.add(1)
		}
		m.degraded.add(1, m.name(name))
	}
}

func (m *Metrics) addDiff(r *trace.Record) {
	d := r.FSDiff
	if d == nil {
		return
	}
	m.diffs.add(float64(d.Counts.Total()))
	m.entries.add(float64(d.Counts.Create), "create")
	m.entries.add(float64(d.Counts.Modify), "modify")
	m.entries.add(float64(d.Counts.Delete), "delete")
	m.entries.add(float64(d.Counts.TypeChange), "type_change")
	if d.Truncated {
		m.truncated.add(1)
	}
}

// name returns the name of a degraded component, or "other" if it is too long or there are too
// many.
func (m *Metrics) name(s string) string {
	if !m.names[s] && (len(m.names) >= maxNames || len(s) > maxNames) {
		return "other"
	}
	m.names[s] = true
	return s
}

// known returns s if it is in the list, or "other".
func known(s string, list []string) string {
	if slices.Contains(list, s) {
		return s
	}
	return "other"
}
