package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// variant is one way to do the work of a group.
type variant struct {
	name   string
	target float64       // highest accepted ratio to the first variant; 0 for none
	adds   time.Duration // most that it may take beyond the first variant; 0 for no such target
	run    func() error
}

// group is a set of variants that run in turns. The others are compared with the first.
type group struct {
	as       string // root or user
	variants []variant
}

// row is a line of the table.
type row struct {
	as, name, against string
	ratio, target     float64
	adds              time.Duration
	quiet             float64 // ratio of the tenth percentiles, which hold on a quiet machine
	median, reference time.Duration
}

// measure runs each variant rounds times, in turns, after a few rounds to warm up.
func (g group) measure(rounds int) ([]row, error) {
	const warmup = 5
	times := make([][]time.Duration, len(g.variants))
	for round := range warmup + rounds {
		for i, v := range g.variants {
			began := time.Now()
			if err := v.run(); err != nil {
				return nil, fmt.Errorf("%s as %s: %w", v.name, g.as, err)
			}
			if round >= warmup {
				times[i] = append(times[i], time.Since(began))
			}
		}
	}
	reference := percentile(times[0], 50)
	var rows []row
	for i, v := range g.variants[1:] {
		m := percentile(times[i+1], 50)
		rows = append(rows, row{
			as: g.as, name: v.name, against: g.variants[0].name,
			ratio: float64(m) / float64(reference), target: v.target, adds: v.adds, median: m, reference: reference,
			quiet: float64(percentile(times[i+1], 10)) / float64(percentile(times[0], 10)),
		})
	}
	return rows, nil
}

// percentile is the time below which p percent of the runs stay.
func percentile(times []time.Duration, p int) time.Duration {
	slices.Sort(times)
	return times[len(times)*p/100]
}

// table writes rows as Markdown.
func table(rows []row) string {
	var b strings.Builder
	b.WriteString("| as | what | against | ratio | wanted, at most | fastest tenth | ms | against, ms |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		wanted := "-"
		switch {
		case r.target > 0:
			wanted = fmt.Sprintf("%.2f", r.target)
		case r.adds > 0:
			wanted = fmt.Sprintf("%.2f ms more", ms(r.adds))
		}
		if r.missed() {
			wanted += ", not met"
		}
		fmt.Fprintf(&b, "| %s | `%s` | `%s` | **%.2f** | %s | %.2f | %.2f | %.2f |\n",
			r.as, r.name, r.against, r.ratio, wanted, r.quiet, ms(r.median), ms(r.reference))
	}
	return b.String()
}

// missed reports whether there is a target and it is not met.
func (r row) missed() bool {
	return r.target > 0 && r.ratio > r.target || r.adds > 0 && r.median-r.reference > r.adds
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// The table stands between these lines of the page.
const (
	tableBegin = "<!-- bench:begin -->\n"
	tableEnd   = "<!-- bench:end -->\n"
)

// splice puts text between the marks of page.
func splice(page, text string) (string, error) {
	before, rest, found := strings.Cut(page, tableBegin)
	_, after, foundEnd := strings.Cut(rest, tableEnd)
	if !found || !foundEnd {
		return "", fmt.Errorf("the page lacks the marks %q and %q", tableBegin, tableEnd)
	}
	return before + tableBegin + text + tableEnd + after, nil
}

func spliceFile(path, text string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	out, err := splice(string(page), text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(out), 0o644)
}

func TestMeasureTakesTurns(t *testing.T) {
	var order strings.Builder
	note := func(s string) func() error { return func() error { order.WriteString(s); return nil } }
	g := group{"user", []variant{{name: "a", run: note("a")}, {name: "b", run: note("b")}}}
	rows, err := g.measure(3)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Repeat("ab", 8); order.String() != want {
		t.Errorf("the variants ran in the order %s, want %s", order.String(), want)
	}
	if len(rows) != 1 || rows[0].name != "b" || rows[0].against != "a" {
		t.Errorf("measure = %+v, want one row of b against a", rows)
	}
}

func TestMedianIgnoresOutliers(t *testing.T) {
	if got := percentile([]time.Duration{9000, 2, 1, 3, 2}, 50); got != 2 {
		t.Errorf("percentile(50) = %v, want 2ns", got)
	}
}

func TestTableSaysWhatIsNotMet(t *testing.T) {
	got := table([]row{{as: "root", name: "slow", against: "a", ratio: 2, target: 1.1}, {as: "root", name: "fast", against: "a", ratio: 1, target: 1.1}})
	late := table([]row{
		{as: "root", name: "late", against: "a", adds: time.Millisecond, median: 3 * time.Millisecond, reference: time.Millisecond},
		{as: "root", name: "soon", against: "a", adds: time.Millisecond, median: time.Millisecond, reference: time.Millisecond},
	})
	if !strings.Contains(late, "| 1.00 ms more, not met |") || !strings.Contains(late, "| 1.00 ms more |") {
		t.Errorf("table =\n%s", late)
	}
	if !strings.Contains(got, "`slow` | `a` | **2.00** | 1.10, not met |") || !strings.Contains(got, "`fast` | `a` | **1.00** | 1.10 |") {
		t.Errorf("table =\n%s", got)
	}
}

func TestSplice(t *testing.T) {
	got, err := splice("top\n"+tableBegin+"old\n"+tableEnd+"bottom\n", "new\n")
	if want := "top\n" + tableBegin + "new\n" + tableEnd + "bottom\n"; err != nil || got != want {
		t.Errorf("splice = %q, %v, want %q", got, err, want)
	}
	if _, err := splice("no marks", "new"); err == nil {
		t.Error("splice of a page without marks = nil, want an error")
	}
}
