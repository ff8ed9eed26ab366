// Package corpus tests RPL1: hundreds of commands have byte for byte the same results as in bash
// when they are recorded, replayed on the host, and replayed in a world.
//
// The commands are in testdata; testdata/README.md describes how to add one. Each run gets a new
// directory with the same path and the same files:
//
//	A  bash -c CMD                               the expected result
//	B  substrate -c CMD                          recorded
//	C  substrate --replay SPAN --no-world        on the host
//	D  substrate --replay SPAN --world           in a world
//
// Standard output, standard error and exit status of B, C and D must be those of A. B and C must
// leave the same files as A. D must not change the directory, and the diff in its span must list
// exactly what A changed there. If root runs the tests, all runs are done as root and as an
// ordinary user, otherwise as the caller.
//
// With -short only every fifth snippet is run. To check only whether new snippets give the same
// result each time in plain bash:
//
//	go test ./internal/replay/corpus -args -runs=A
package corpus

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"substrate/internal/testenv"
)

var (
	runs    = flag.String("runs", "BCD", "which runs are compared with plain bash: letters of ABCD, A being bash once more")
	workers = flag.Int("workers", 4, "how many snippets run at once")
)

// leastSnippets is the required size of the corpus.
const leastSnippets = 350

// TestCorpus runs every snippet (RPL1; also REC1, REC4, RPL3, DIF3).
func TestCorpus(t *testing.T) {
	all, err := loadSnippets("testdata")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < leastSnippets {
		t.Fatalf("%d snippets, want at least %d", len(all), leastSnippets)
	}
	defer syscall.Umask(syscall.Umask(0o022))
	if err := keepDescriptors(); err != nil {
		t.Fatal(err)
	}
	base := newBase(t)
	bin := ""
	if strings.ContainsAny(*runs, "BCD") {
		bin = build(t, base)
	}
	for _, id := range identities(t) {
		t.Run(id.name, func(t *testing.T) {
			if id.uid != 0 && strings.Contains(*runs, "D") {
				testenv.NeedUserns(t)
			}
			runAll(t, all, id, bin)
		})
	}
}

// runAll runs the snippets in parallel. Many of them sleep, so it starts more workers than
// processors.
func runAll(t *testing.T, all []*snippet, id *identity, bin string) {
	queue := make(chan *snippet)
	var wait sync.WaitGroup
	for range *workers {
		wait.Go(func() {
			for s := range queue {
				t.Run(s.topic+"/"+s.name, func(t *testing.T) { judge(t, newPlace(id, s), bin) })
			}
		})
	}
	for i, s := range all {
		if testing.Short() && i%5 != 0 {
			continue
		}
		if s.only == "" || s.only == id.name {
			queue <- s
		}
	}
	close(queue)
	wait.Wait()
}

// keepDescriptors closes the inherited descriptors above 2 for the commands: plain bash and
// substrate -c would pass them on, but a replay would not (RPL4).
func keepDescriptors() error {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range list {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}

// newBase makes a directory that all identities may enter.
func newBase(t *testing.T) string {
	t.Helper()
	base, err := os.MkdirTemp("", "substrate-corpus-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Errorf("remove %s: %v", base, err)
		}
	})
	if base, err = filepath.EvalSymlinks(base); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o755); err != nil {
		t.Fatal(err)
	}
	return base
}

// build builds the program as `make build` does, with the same entry point.
func build(t *testing.T, base string) string {
	t.Helper()
	bin := filepath.Join(base, "bin", "substrate")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -E substrate_entry",
		"-o", bin, "substrate/cmd/substrate")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build substrate: %v\n%s", err, out)
	}
	if err := os.Chmod(filepath.Dir(bin), 0o755); err != nil {
		t.Fatal(err)
	}
	return bin
}

// identities returns root and an ordinary user if root runs the tests, otherwise only the caller.
func identities(t *testing.T) []*identity {
	t.Helper()
	user := &identity{name: "user", uid: os.Getuid(), gid: os.Getgid()}
	list := []*identity{user}
	if os.Getuid() == 0 {
		list = []*identity{
			{name: "root"},
			{name: "user", uid: testenv.UID, gid: testenv.UID, switched: true},
		}
	}
	for _, id := range list {
		id.base = newBase(t)
		if err := id.own(id.base); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{"run", "state"} {
			dir := filepath.Join(id.base, d)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := id.own(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
	return list
}

// judge runs one snippet in all ways and compares the results.
func judge(t *testing.T, p *place, bin string) {
	t.Cleanup(func() {
		for _, dir := range []string{p.dir, p.store} {
			if err := p.remove(dir); err != nil {
				t.Errorf("remove %s: %v", dir, err)
			}
		}
	})
	if err := p.openStore(); err != nil {
		t.Fatal(err)
	}
	want := p.try(t, "A", p.plain)
	if want == nil {
		return
	}
	t.Logf("status %d\nstdout %.600q\nstderr %.600q", want.status, want.stdout, want.stderr)
	if strings.Contains(*runs, "A") {
		compare(t, p, "A", want, p.try(t, "A", p.plain))
	}
	if bin == "" {
		return
	}
	compare(t, p, "B", want, p.try(t, "B", func() (outcome, error) { return p.recorded(bin) }))
	span, err := p.recordedSpan(want.status)
	if err != nil {
		p.check(t, "B", "trace", []string{err.Error()})
	}
	if span == "" {
		return
	}
	replays := 0
	for _, r := range []struct{ name, mode string }{{"C", "--no-world"}, {"D", "--world"}} {
		if !strings.Contains(*runs, r.name) {
			continue
		}
		got := p.try(t, r.name, func() (outcome, error) { return p.replayed(bin, span, r.mode) })
		if got == nil {
			return
		}
		replays++
		judgeReplay(t, p, r.name, want, got, func() (line, error) { return p.replayedSpan(replays, got.status, span) })
	}
	p.validate(t)
}

// judgeReplay checks a replay and its span.
func judgeReplay(t *testing.T, p *place, name string, want, got *trial, span func() (line, error)) {
	t.Helper()
	end, err := span()
	if err != nil {
		t.Errorf("the trace of run %s: %v", name, err)
	}
	if name == "C" {
		compare(t, p, name, want, got)
		return
	}
	got.stderr = withoutWarnings(got.stderr)
	compareOutcome(t, p, name, want, got)
	p.check(t, name, "files", differences(got.before, got.after, true))
	entries, err := end.changes()
	if err != nil {
		p.check(t, name, "diff", []string{err.Error()})
		return
	}
	p.check(t, name, "diff", mapDifferences(changes(want.before, want.after, p.cwd()), entries))
}

// trial is the result of a run and the files before and after it.
type trial struct {
	outcome
	before, after tree
}

// try prepares the place and runs something in it. It returns nil if that failed.
func (p *place) try(t *testing.T, name string, run func() (outcome, error)) *trial {
	t.Helper()
	var r trial
	var err error
	if r.before, err = p.fresh(); err != nil {
		t.Errorf("run %s: make a fresh directory: %v", name, err)
		return nil
	}
	if r.outcome, err = run(); err != nil {
		t.Errorf("run %s: %v", name, err)
		return nil
	}
	if r.after, err = p.snapshot(); err != nil {
		t.Errorf("run %s: %v", name, err)
		return nil
	}
	return &r
}

// compare reports where a run on the host differs from plain bash.
func compare(t *testing.T, p *place, name string, want, got *trial) {
	t.Helper()
	if got == nil {
		return
	}
	compareOutcome(t, p, name, want, got)
	p.check(t, name, "files", differences(want.after, got.after, false))
}

// compareOutcome compares the output and the exit status.
func compareOutcome(t *testing.T, p *place, name string, want, got *trial) {
	t.Helper()
	p.check(t, name, "stdout", bytesDifference(want.stdout, got.stdout))
	p.check(t, name, "stderr", bytesDifference(want.stderr, got.stderr))
	if got.status != want.status {
		p.check(t, name, "status", []string{fmt.Sprintf("%d, want %d", got.status, want.status)})
	}
}

// check reports differences unless an exception covers them.
func (p *place) check(t *testing.T, run, part string, diffs []string) {
	t.Helper()
	if len(diffs) == 0 {
		return
	}
	if reason, ok := p.s.excused(run, part, p.id.name); ok {
		t.Logf("run %s: %s differs, as it may: %s", run, part, reason)
		return
	}
	t.Errorf("run %s as %s: %s of %.200q differs from bash -c:\n  %s", run, p.id.name, part, p.s.cmd, strings.Join(diffs, "\n  "))
}
