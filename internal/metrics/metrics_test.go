package metrics

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"substrate/fsdiff"
	"substrate/trace"
)

// ended is a span of that component that ended with that status.
func ended(change func(r *trace.Record)) *trace.Span {
	r := &trace.Record{Component: trace.ComponentReplay, Completion: &trace.Completion{DurationMS: 1500}}
	change(r)
	return &trace.Span{Complete: r}
}

// sample gives metrics of spans of all sorts, hostile ones among them.
func sample() *Metrics {
	m := New()
	m.Add(&trace.Span{Start: &trace.Record{Component: trace.ComponentShell}})
	m.Add(ended(func(r *trace.Record) { r.Exit = 3 }))
	m.Add(ended(func(r *trace.Record) { r.Exit, r.Component = 1<<40, "a\"b\\\n\x00" }))
	diff := fsdiff.New("/", "overlay", 1)
	diff.Add("/a", fsdiff.Create, fsdiff.Meta{FileType: fsdiff.File}, nil)
	diff.Add("/b", fsdiff.Delete, fsdiff.Meta{FileType: fsdiff.File}, nil)
	m.Add(ended(func(r *trace.Record) {
		r.WorldID, r.FSStrategy, r.SetupUS, r.TeardownUS, r.OOMKills, r.FSDiff = "wld_1", "fuse", 2500, 2501, 2, diff.Finish()
		r.DegradedComponents, r.FSFallbackReasons = []string{"nft", "a\"b\\\n\x00"}, []string{"overlay: no", "?"}
		r.ScopesUsed = []string{"net.block:192.0.2.1:1/tcp", "fs.write:/a"}
	}))
	m.Add(ended(func(r *trace.Record) { r.DegradedComponents = []string{"world"} }))
	return m
}

// DOC4: the numbers are those of the spans.
func TestNumbers(t *testing.T) {
	text := sample().Text()
	for _, want := range []string{
		`substrate_spans_total{component="replay",exit="0"} 2`,
		`substrate_spans_total{component="replay",exit="3"} 1`,
		`substrate_spans_total{component="other",exit="other"} 1`,
		`substrate_spans_incomplete{component="shell"} 1`,
		`substrate_span_duration_seconds_sum{component="replay"} 4.5`,
		`substrate_span_duration_seconds_count{component="replay"} 3`,
		`substrate_worlds_created_total{strategy="fuse"} 1`,
		`substrate_worlds_failed_total{strategy="none"} 1`,
		`substrate_worlds_failed_total{strategy="other"} 1`,
		`substrate_worlds_failed_total{strategy="overlay"} 1`,
		`substrate_world_setup_seconds_bucket{strategy="fuse",le="0.001"} 0`,
		`substrate_world_setup_seconds_bucket{strategy="fuse",le="0.0025"} 1`,
		`substrate_world_setup_seconds_bucket{strategy="fuse",le="+Inf"} 1`,
		`substrate_world_setup_seconds_sum{strategy="fuse"} 0.0025`,
		`substrate_world_teardown_seconds_bucket{strategy="fuse",le="0.0025"} 0`,
		`substrate_world_degraded_total{component="nft"} 1`,
		`substrate_world_degraded_total{component="a\"b\\\n\\x00"} 1`,
		`substrate_nft_failures_total 1`,
		`substrate_fs_diff_entries_bucket{le="1"} 0`,
		`substrate_fs_diff_entries_bucket{le="10"} 1`,
		`substrate_fs_diff_changes_total{kind="delete"} 1`,
		`substrate_fs_diff_truncated_total 1`,
		`substrate_network_blocked_total 1`,
		`substrate_world_oom_kills_total 2`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %s in\n%s", want, text)
		}
	}
}

// DOC4: the text is what Prometheus reads, of no spans, of some, and of too many different ones.
func TestText(t *testing.T) {
	many := New()
	for i := range 3 * maxNames {
		many.Add(ended(func(r *trace.Record) {
			r.Exit, r.DegradedComponents = i, []string{fmt.Sprint("x", i), strings.Repeat("long", 99)}
		}))
	}
	if n := strings.Count(many.Text(), "substrate_world_degraded_total{"); n != maxNames+1 {
		t.Errorf("%d series of degraded components, want %d and other", n, maxNames)
	}
	for name, m := range map[string]*Metrics{"none": New(), "some": sample(), "many": many} {
		if err := parse(m.Text()); err != nil {
			t.Errorf("%s: %v\n%s", name, err, m.Text())
		}
	}
}

// The parser refuses what it should, or it would prove nothing.
func TestParserIsStrict(t *testing.T) {
	const head = "# HELP a b\n# TYPE a counter\n"
	for _, bad := range []string{
		"a 1\n", head + "a 1", head + "a x\n", head + "a{b=\"c} 1\n", head + "a{b=\"\n\"} 1\n", head + "a 1\na 2\n", head + "b 1\n", head + "a -1\n",
		head + head, head + "\n", "# HELP 1 b\n# TYPE 1 counter\n", "# TYPE a counter\na 1\n", head + "a{b=\"c\",b=\"d\"} 1\n",
		"# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
		"# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n",
		"# HELP h b\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n",
	} {
		if parse(bad) == nil {
			t.Errorf("parse accepts %q", bad)
		}
	}
	if err := parse(head + "a{b=\"c\\\"\\\\\\n\"} 1.5e+06\na 2\n"); err != nil {
		t.Errorf("parse refuses what is right: %v", err)
	}
}

var (
	helpLine   = regexp.MustCompile(`^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (?:[^\\\n]|\\\\|\\n)*$`)
	typeLine   = regexp.MustCompile(`^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|summary|histogram)$`)
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\\\|\\"|\\n)*",?)+)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)`)
)

// parse reads the text format strictly: each family once, HELP and TYPE before its samples, names
// and values well-formed, no series twice, buckets that grow up to the count.
func parse(text string) error {
	if !strings.HasSuffix(text, "\n") {
		return fmt.Errorf("no newline at the end")
	}
	p := parser{families: map[string]bool{}, series: map[string]bool{}, buckets: map[string][2]float64{}}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if err := p.line(line); err != nil {
			return fmt.Errorf("line %d: %q: %w", n+1, line, err)
		}
	}
	return p.endFamily()
}

type parser struct {
	families         map[string]bool
	help, name, kind string
	series           map[string]bool
	buckets          map[string][2]float64 // last bound and last count of each series of a histogram
}

func (p *parser) line(line string) error {
	if m := helpLine.FindStringSubmatch(line); m != nil {
		if err := p.endFamily(); err != nil {
			return err
		}
		p.help, p.name, p.kind = m[1], "", ""
		return nil
	}
	if m := typeLine.FindStringSubmatch(line); m != nil {
		if m[1] != p.help || p.families[m[1]] || p.name != "" {
			return fmt.Errorf("a type without help, or twice")
		}
		p.families[m[1]], p.name, p.kind = true, m[1], m[2]
		return nil
	}
	m := sampleLine.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("is no sample")
	}
	v, err := strconv.ParseFloat(m[3], 64)
	if err != nil {
		return err
	}
	if p.kind != "gauge" && v < 0 {
		return fmt.Errorf("negative")
	}
	return p.sample(m[1], m[2], v)
}

func (p *parser) sample(name, labels string, v float64) error {
	suffix, ok := strings.CutPrefix(name, p.name)
	allowed := map[string]string{"counter": "|", "gauge": "|", "summary": "|_sum|_count|", "histogram": "|_bucket|_sum|_count|"}[p.kind]
	if p.name == "" || !ok || !strings.Contains(allowed+"|", "|"+suffix+"|") && suffix != "" || suffix == "" && p.kind != "counter" && p.kind != "gauge" {
		return fmt.Errorf("does not belong to family %q", p.name)
	}
	if p.series[name+labels] {
		return fmt.Errorf("twice")
	}
	p.series[name+labels] = true
	seen, rest, le := map[string]bool{}, "", ""
	for _, pair := range labelPair.FindAllStringSubmatch(labels, -1) {
		if seen[pair[1]] {
			return fmt.Errorf("label %s twice", pair[1])
		}
		seen[pair[1]] = true
		if pair[1] == "le" && suffix == "_bucket" {
			le = pair[2]
			continue
		}
		rest += pair[0]
	}
	return p.histogram(suffix, strings.TrimSuffix(rest, ","), le, v)
}

func (p *parser) histogram(suffix, series, le string, v float64) error {
	if p.kind != "histogram" {
		return nil
	}
	last, known := p.buckets[series]
	if !known {
		last = [2]float64{math.Inf(-1), 0}
	}
	switch suffix {
	case "_bucket":
		bound, err := strconv.ParseFloat(le, 64)
		if err != nil || bound <= last[0] || v < last[1] {
			return fmt.Errorf("buckets do not grow")
		}
		p.buckets[series] = [2]float64{bound, v}
	case "_count":
		if !math.IsInf(last[0], 1) || last[1] != v {
			return fmt.Errorf("the last bucket is not the count")
		}
	}
	return nil
}

func (p *parser) endFamily() error {
	for series, last := range p.buckets {
		if !math.IsInf(last[0], 1) {
			return fmt.Errorf("histogram %s{%s} has no last bucket", p.name, series)
		}
	}
	p.buckets = map[string][2]float64{}
	return nil
}
