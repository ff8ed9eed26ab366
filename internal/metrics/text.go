package metrics

import (
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Text gives the metrics in Prometheus' text format, version 0.0.4. The order is always the same.
//
// Source: Prometheus documentation, "Exposition formats", "Text-based format".
func (m *Metrics) Text() string {
	var b strings.Builder
	for _, f := range []interface{ write(w io.StringWriter) }{
		m.spans, m.incomplete, m.durations, m.created, m.failed, m.setup, m.teardown, m.degraded, m.nft,
		m.diffs, m.entries, m.truncated, m.blocked, m.oomKills,
	} {
		f.write(&b)
	}
	return b.String()
}

// family is what all kinds of metrics have in common.
type family struct {
	name, help string
	labels     []string
}

// head writes the lines before the values.
func (f *family) head(w io.StringWriter, kind string) {
	line(w, "# HELP ", f.name, " ", strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(f.help))
	line(w, "# TYPE ", f.name, " ", kind)
}

// key joins the values of the labels, escaped; it sorts as they do.
func (f *family) key(values []string) string {
	escaped := make([]string, len(values))
	for i, v := range values {
		escaped[i] = escape(v)
	}
	return strings.Join(escaped, "\x00")
}

// series is the name of one series, with the labels of a key and maybe one more.
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

// counter is a sum for each combination of labels.
type counter struct {
	family
	gauge  bool
	values map[string]float64
}

func newCounter(name, help string, labels ...string) *counter {
	return &counter{family: family{name, help, labels}, values: make(map[string]float64)}
}

func (c *counter) add(n float64, labels ...string) { c.values[c.key(labels)] += n }

func (c *counter) write(w io.StringWriter) {
	kind := "counter"
	if c.gauge {
		kind = "gauge"
	}
	c.head(w, kind)
	for _, key := range slices.Sorted(maps.Keys(c.values)) {
		line(w, c.series("", key), " ", number(c.values[key]))
	}
}

// summary is a number and a sum for each combination of labels.
type summary struct {
	family
	values map[string]*sum
}

type sum struct {
	n       uint64
	total   float64
	buckets []uint64 // of a histogram: how many were at most its bound
}

func newSummary(name, help string, labels ...string) *summary {
	return &summary{family{name, help, labels}, make(map[string]*sum)}
}

func (s *summary) observe(v float64, labels ...string) *sum {
	key := s.key(labels)
	if s.values[key] == nil {
		s.values[key] = &sum{}
	}
	s.values[key].n++
	s.values[key].total += v
	return s.values[key]
}

func (s *summary) write(w io.StringWriter) {
	s.head(w, "summary")
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		s.writeSum(w, key)
	}
}

func (s *summary) writeSum(w io.StringWriter, key string) {
	line(w, s.series("_sum", key), " ", number(s.values[key].total))
	line(w, s.series("_count", key), " ", strconv.FormatUint(s.values[key].n, 10))
}

// histogram is a summary that also counts how many values were at most each of its bounds.
type histogram struct {
	summary
	bounds []float64
}

func newHistogram(name, help string, bounds []float64, labels ...string) *histogram {
	return &histogram{*newSummary(name, help, labels...), bounds}
}

func (h *histogram) observe(v float64, labels ...string) {
	s := h.summary.observe(v, labels...)
	if s.buckets == nil {
		s.buckets = make([]uint64, len(h.bounds))
	}
	for i, bound := range h.bounds {
		if v <= bound {
			s.buckets[i]++
		}
	}
}

func (h *histogram) write(w io.StringWriter) {
	h.head(w, "histogram")
	for _, key := range slices.Sorted(maps.Keys(h.values)) {
		s := h.values[key]
		for i, bound := range h.bounds {
			line(w, h.series("_bucket", key, "le", number(bound)), " ", strconv.FormatUint(s.buckets[i], 10))
		}
		line(w, h.series("_bucket", key, "le", "+Inf"), " ", strconv.FormatUint(s.n, 10))
		h.writeSum(w, key)
	}
}
