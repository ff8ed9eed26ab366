// Testsum reads what `go test -json` prints and shows a line for each package, the output of failed
// tests, and the reason of each skip.
//
// The tests run in several passes, as root, as an ordinary user and in virtual machines, and many
// can run in only one of them. With -as NAME testsum reads a pass and adds its results to the file
// named by -results. With -sum it reads that file and counts a test as skipped only if every pass
// skipped it. With SUBSTRATE_NO_SKIP=1 that is a failure.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

func main() {
	as := flag.String("as", "", "name of this pass")
	results := flag.String("results", "", "file that holds the results of all passes")
	sum := flag.Bool("sum", false, "print the sum of all passes")
	noVM := flag.Bool("no-vm", false, "there was no pass in the virtual machine; tests that wait for it may skip")
	flag.Parse()
	var err error
	if *sum {
		err = printSum(os.Stdout, *results, os.Getenv("SUBSTRATE_NO_SKIP") == "1", *noVM)
	} else {
		err = readPass(os.Stdin, os.Stdout, *as, *results)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(1)
	}
}

// event is one line of `go test -json`.
//
// Source: go doc cmd/test2json, "Output Format".
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build output
	Test        string
	Elapsed     float64 // seconds
	Output      string
	FailedBuild string
}

// result is one line of the results file.
type result struct {
	As      string
	Package string
	Test    string // "" for a package that failed outside its tests
	Action  string // pass, fail, skip
	Reason  string // of a skip
}

// pass collects one run of go test.
type pass struct {
	as      string
	out     io.Writer
	output  map[string][]string // by package and test
	counts  map[string]*counts  // by package
	results []result
}

type counts struct{ passed, failed, skipped int }

func readPass(in io.Reader, out io.Writer, as, file string) error {
	p := &pass{as: as, out: out, output: map[string][]string{}, counts: map[string]*counts{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(out, lines.Text()) // output of the go command itself
			continue
		}
		p.add(e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read test output: %w", err)
	}
	return p.save(file)
}

func (p *pass) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(p.out, e.Output)
	case "output":
		p.output[key] = append(p.output[key], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			p.endPackage(e)
		} else {
			p.endTest(e, key)
		}
		delete(p.output, key)
	}
}

func (p *pass) of(pkg string) *counts {
	if p.counts[pkg] == nil {
		p.counts[pkg] = &counts{}
	}
	return p.counts[pkg]
}

func (p *pass) endTest(e event, key string) {
	c, r := p.of(e.Package), result{p.as, e.Package, e.Test, e.Action, ""}
	switch e.Action {
	case "pass":
		c.passed++
	case "fail":
		c.failed++
		fmt.Fprint(p.out, strings.Join(p.output[key], ""))
	case "skip":
		c.skipped++
		r.Reason = reason(p.output[key])
		fmt.Fprintf(p.out, "skip %s %s: %s\n", e.Package, e.Test, r.Reason)
	}
	p.results = append(p.results, r)
}

func (p *pass) endPackage(e event) {
	c := p.of(e.Package)
	if e.Action == "fail" && c.failed == 0 {
		c.failed++
		fmt.Fprint(p.out, strings.Join(p.output[e.Package+" "], ""))
		p.results = append(p.results, result{p.as, e.Package, "", "fail", ""})
	}
	if c.passed+c.failed+c.skipped == 0 {
		return // a package without tests
	}
	word := "ok  "
	if e.Action == "fail" {
		word = "FAIL"
	}
	fmt.Fprintf(p.out, "%s %-44s %6.1fs  %d passed, %d failed, %d skipped\n",
		word, e.Package, e.Elapsed, c.passed, c.failed, c.skipped)
}

// reason finds in the output of a skipped test the message that was given to Skip.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return said[len(said)-1]
}

// save adds the results to the file. The error counts the tests that failed.
func (p *pass) save(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	enc, failed := json.NewEncoder(f), 0
	for _, r := range p.results {
		if r.Action == "fail" {
			failed++
		}
		if err := enc.Encode(r); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if failed > 0 {
		return fmt.Errorf("as %s: %d failed", p.as, failed)
	}
	return nil
}

// vmReason is part of the reason of a test that only the virtual machine can run: see
// testenv.NeedVM.
const vmReason = "make test-vm"

// printSum ends with the line that CI reads: "N passed, N failed, N skipped". A test
// counts once in each pass in which it ran.
func printSum(out io.Writer, file string, noSkip, noVM bool) error {
	results, err := load(file)
	if err != nil {
		return err
	}
	var total counts
	passed, skipped := map[string]bool{}, map[string]string{}
	for _, r := range results {
		key := r.Package + " " + r.Test
		switch r.Action {
		case "pass":
			total.passed++
			passed[key] = true
		case "fail":
			total.failed++
			fmt.Fprintf(out, "FAIL as %s: %s\n", r.As, key)
		case "skip":
			skipped[key] = r.Reason
		}
	}
	excused := 0
	for _, key := range sorted(skipped) {
		if !passed[key] {
			total.skipped++
			if noVM && strings.Contains(skipped[key], vmReason) {
				excused++
			}
			fmt.Fprintf(out, "SKIP in every pass: %s: %s\n", key, skipped[key])
		}
	}
	var bad error
	switch {
	case total.failed > 0:
		bad = fmt.Errorf("%d failed", total.failed)
	case total.passed == 0:
		bad = fmt.Errorf("no test ran")
	case noSkip && total.skipped > excused:
		bad = fmt.Errorf("%d skipped, and SUBSTRATE_NO_SKIP=1", total.skipped-excused)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	return bad
}

func load(file string) ([]result, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var results []result
	for dec := json.NewDecoder(f); ; {
		var r result
		err := dec.Decode(&r)
		if err == io.EOF {
			return results, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		results = append(results, r)
	}
}

func sorted(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
