package metrics

import (
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Text returns the metrics in Prometheus' text format, version 0.0.4. The order is always the same.
//
// Source: Prometheus documentation, "Exposition formats", "Text-based format".
func (m *Metrics) Text() string {
	var b strings.Builder
	for _, f := range []*family{
		m.spans, m.incomplete, m.durations, m.created, m.failed, m.setup, m.teardown, m.degraded, m.nft,
		m.diffs, m.entries, m.truncated, m.blocked, m.oomKills,
	} {
		f.write(&b)
	}
	return b.String()
}

// family is a metric: one value for each combination of labels.
type family struct {
	kind, name, help string // kind is counter, gauge, summary or histogram
	bounds           []float64
	labels           []string
	values           map[string]*value // by the values of the labels
}

// value is what was observed.
type value struct {
	n       uint64
	total   float64
	buckets []uint64 // of a histogram: how many were at most the bound
}

func newFamily(kind, name, help string, labels ...string) *family {
	return &family{kind: kind, name: name, help: help, labels: labels, values: make(map[string]*value)}
}

func newHistogram(name, help string, bounds []float64, labels ...string) *family {
	f := newFamily("histogram", name, help, labels...)
	f.bounds = bounds
	return f
}

// add observes v, or adds v to a counter.
func (f *family) add(v float64, labels ...string) {
	escaped := make([]string, len(labels))
	for i, label := range labels {
		escaped[i] = escape(label)
	}
	key := strings.Join(escaped, "\x00")
	sum := f.values[key]
	if sum == nil {
		sum = &value{buckets: make([]uint64, len(f.bounds))}
		f.values[key] = sum
	}
	sum.n++
	sum.total += v
	for i, bound := range f.bounds {
		if v <= bound {
			sum.buckets[i]++
		}
	}
}

func (f *family) write(w io.StringWriter) {
	line(w, "# HELP ", f.name, " ", strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(f.help))
	line(w, "# TYPE ", f.name, " ", f.kind)
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		v := f.values[key]
		if f.kind == "counter" || f.kind == "gauge" {
			line(w, f.series("", key), " ", number(v.total))
			continue
		}
		count := strconv.FormatUint(v.n, 10)
		if f.kind == "histogram" {
			for i, bound := range f.bounds {
				line(w, f.series("_bucket", key, "le", number(bound)), " ", strconv.FormatUint(v.buckets[i], 10))
			}
			line(w, f.series("_bucket", key, "le", "+Inf"), " ", count)
		}
		line(w, f.series("_sum", key), " ", number(v.total))
		line(w, f.series("_count", key), " ", count)
	}
}

// series is the name of one series, with the labels of a key and optionally one more.
func (f *family) series(suffix, key string, more ...string) string {
	var pairs []string
	if len(f.labels) > 0 {
		for i, value := range strings.Split(key, "\x00") {
			pairs = append(pairs, f.labels[i]+`="`+value+`"`)
		}
	}
	if len(more) == 2 {
		pairs = append(pairs, more[0]+`="`+more[1]+`"`)
	}
	if len(pairs) == 0 {
		return f.name + suffix
	}
	return f.name + suffix + "{" + strings.Join(pairs, ",") + "}"
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(strings.ReplaceAll(s, "\x00", `\x00`))
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// line writes to memory, which never fails.
func line(w io.StringWriter, parts ...string) {
	for _, p := range append(parts, "\n") {
		_, _ = w.WriteString(p)
	}
}
