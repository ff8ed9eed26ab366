package world

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"substrate/internal/testenv"
	"substrate/internal/world/cgroup"
)

// runLimited runs a shell script in a world with limits.
func runLimited(t *testing.T, limits Limits, script string) *Result {
	t.Helper()
	spec := testSpec(t, t.TempDir())
	spec.Limits = limits
	w, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	res, err := w.Run(Command{Path: "bash", Argv: []string{"bash", "-c", script}, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}, Umask: 0o22})
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return res
}

// lackingControllers lists the controllers that a world of this caller does not have.
func lackingControllers(t *testing.T) []string {
	t.Helper()
	parent, err := cgroup.Parent(os.Geteuid() == 0)
	if err != nil {
		return cgroup.Controllers
	}
	g, err := cgroup.New(parent + "/" + NameOf(t.TempDir()+"/"))
	if err != nil {
		return cgroup.Controllers
	}
	defer func() { _ = g.Close() }()
	return slices.Clone(g.Missing)
}

// needControllers skips the test unless root's worlds have the controllers for limits, as they do
// where only cgroup v2 is mounted.
func needControllers(t *testing.T) {
	t.Helper()
	testenv.NeedRoot(t)
	if m := lackingControllers(t); len(m) > 0 {
		testenv.NeedVM(t, "cgroup v2 has no controllers "+strings.Join(m, ", "))
	}
}

// CGR1, CGR2: a world reports a limit that was asked for and is not in force, and no other.
func TestLimitsNotInForce(t *testing.T) {
	asBoth(t, func(t *testing.T) {
		lacking := lackingControllers(t)
		res := runLimited(t, Limits{Memory: 1 << 30, PIDs: 100, CPUs: 2}, "exit 3")
		if res.Exit != 3 {
			t.Errorf("status %d, want 3", res.Exit)
		}
		for _, c := range []struct{ controller, flag string }{{"memory", "--memory"}, {"pids", "--pids"}, {"cpu", "--cpus"}} {
			want := slices.Contains(lacking, c.controller)
			said := slices.ContainsFunc(res.Degraded, func(d Degradation) bool {
				return d.Name == "limit."+c.controller && d.Asked && strings.HasPrefix(d.Message, c.flag+" is not enforced: ")
			})
			if said != want {
				t.Errorf("controller %s is missing: %v; said: %v in %+v", c.controller, want, said, res.Degraded)
			}
		}
		for _, d := range runLimited(t, Limits{}, "true").Degraded {
			if strings.HasPrefix(d.Name, "limit.") {
				t.Errorf("without a limit: %+v", d)
			}
		}
	})
}

// CGR2: processor time is counted without any controller.
func TestGroupCPU(t *testing.T) {
	testenv.NeedRoot(t)
	if _, err := cgroup.Parent(true); err != nil {
		testenv.Skip(t, err.Error())
	}
	if res := runLimited(t, Limits{}, "for ((i = 0; i < 20000; i++)); do :; done"); res.Usage.GroupCPU <= 0 {
		t.Errorf("usage is %+v, want processor time of the cgroup", res.Usage)
	}
}

// CGR2: memory.max works: the kernel kills a process that exceeds it, and the result says so.
func TestMemoryLimitActs(t *testing.T) {
	needControllers(t)
	const script = `bash -c 'dd if=/dev/zero of=/dev/null bs=150M count=1'; exit $?`
	res := runLimited(t, Limits{Memory: 64 << 20}, script)
	if res.Exit != 137 || res.Usage.OOMKills < 1 {
		t.Errorf("status %d, usage %+v; want 137 and OOM kills", res.Exit, res.Usage)
	}
	if peak := res.Usage.MemoryPeak; peak <= 0 || peak > 64<<20 {
		t.Errorf("peak of memory is %d, want at most the limit", peak)
	}
	if res := runLimited(t, Limits{}, script); res.Exit != 0 || res.Usage.OOMKills != 0 || res.Usage.MemoryPeak < 100<<20 {
		t.Errorf("without a limit: status %d, usage %+v", res.Exit, res.Usage)
	}
}

// CGR2: a limit so tight that the kernel kills the init process itself still counts as out of
// memory.
func TestMemoryLimitTight(t *testing.T) {
	needControllers(t)
	res := runLimited(t, Limits{Memory: 1 << 20}, `dd if=/dev/zero of=/dev/null bs=20M count=1`)
	if res.Exit != 137 || res.Usage.OOMKills < 1 {
		t.Errorf("status %d, usage %+v; want 137 and OOM kills", res.Exit, res.Usage)
	}
}

// CGR2: the init process counts only where it is in the cgroup.
func TestPIDsLimitCounts(t *testing.T) {
	g, err := cgroup.New(t.TempDir() + "/group") // a directory will do: nothing enters it
	must(t, err)
	g.Missing = nil
	must(t, os.WriteFile(g.Path+"/pids.max", nil, 0o600))
	limits := Limits{PIDs: 4}
	for _, inGroup := range []bool{false, true} {
		new(report).setLimits(limits, g)
		if inGroup {
			reservePIDForInit(limits, g)
		}
		text, err := os.ReadFile(g.Path + "/pids.max")
		must(t, err)
		if want := map[bool]string{false: "4", true: "5"}[inGroup]; string(text) != want {
			t.Errorf("pids.max is %s, want %s with the init process in the group: %v", text, want, inGroup)
		}
	}
}

// CGR2: pids.max works, and the world's own init process does not count.
func TestPIDsLimitActs(t *testing.T) {
	needControllers(t)
	// Bash tries a refused fork again for half a minute, dash gives up at once.
	const four, five = `exec dash -c "sleep 1 & sleep 1 & sleep 1 & wait"`, `exec dash -c "sleep 1 & sleep 1 & sleep 1 & sleep 1 & wait"`
	if res := runLimited(t, Limits{PIDs: 4}, four); res.Exit != 0 {
		t.Errorf("4 processes under a limit of 4: status %d, want 0", res.Exit)
	}
	if res := runLimited(t, Limits{PIDs: 4}, five); res.Exit == 0 {
		t.Error("5 processes under a limit of 4: status 0, want a refusal")
	}
}
