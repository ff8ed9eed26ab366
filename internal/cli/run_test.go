package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/fsdiff"
	"substrate/internal/replay"
	"substrate/internal/world"
)

// RPL9: each warning is printed once; unimportant ones only with verbose.
func TestWarnings(t *testing.T) {
	const cgroup = "[replay] warn: cgroup v2 unavailable or insufficient privileges; skipping cgroup attach\n"
	if d := cmp.Diff(cgroup, printed(t, false)); d != "" {
		t.Errorf("warnings differ (-want +got):\n%s", d)
	}
	want := cgroup + "[replay] warn: kernel.dmesg_restrict=1; LOG lines may not be visible\n"
	if d := cmp.Diff(want, printed(t, true)); d != "" {
		t.Errorf("verbose warnings differ (-want +got):\n%s", d)
	}
}

// printed returns the warnings of a run.
func printed(t *testing.T, verbose bool) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a := &app{stderr: f}
	const cgroup, dmesg = "cgroup v2 unavailable or insufficient privileges; skipping cgroup attach", "kernel.dmesg_restrict=1; LOG lines may not be visible"
	diff := fsdiff.New("/w", "overlay", 0)
	diff.Add("/w/a", fsdiff.Create, fsdiff.Meta{FileType: fsdiff.File, Mode: "0644"}, nil)
	outcome := &replay.Outcome{Result: &world.Result{
		Diff:     diff.Finish(),
		Degraded: []world.Degradation{{Name: "cgroup", Message: cgroup, Asked: true}, {Name: "cgroup", Message: cgroup, Asked: true}, {Name: "dmesg", Message: dmesg}},
	}}
	flags := &runFlags{verbose: verbose, noReport: true}
	if err := a.printOutcome(flags, outcome, a.degradations()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
