package cgroup

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/testenv"
)

// group makes a group for the test and removes it afterwards.
func group(t *testing.T) *Group {
	t.Helper()
	parent, err := Parent(true)
	if err != nil {
		testenv.Skip(t, "no cgroup v2 here: "+err.Error())
	}
	g, err := New(filepath.Join(parent, "test_"+strconv.Itoa(os.Getpid())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		_ = unix.Rmdir(parent) // stays if worlds live beside this test
	})
	return g
}

// sleeper starts a process inside g and returns its end.
func sleeper(t *testing.T, g *Group) <-chan error {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: g.FD(), Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended
}

// CGR3: Close kills every process of a world, also in groups that a command made, and removes the
// directory.
func TestCloseKills(t *testing.T) {
	testenv.NeedRoot(t)
	g := group(t)
	inner, err := New(filepath.Join(g.Path, "inner"))
	if err != nil {
		t.Fatal(err)
	}
	outerEnd, innerEnd := sleeper(t, g), sleeper(t, inner)
	_ = unix.Close(inner.fd)
	if procs := g.read("cgroup.procs"); len(procs) == 0 {
		t.Fatal("the process did not start inside the group")
	}
	if err := g.Close(); err != nil {
		t.Fatalf("Close = %v", err)
	}
	for _, end := range []<-chan error{outerEnd, innerEnd} {
		var exit *exec.ExitError
		if err := <-end; !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
			t.Errorf("process ended with %v, want killed", err)
		}
	}
	if _, err := os.Stat(g.Path); !os.IsNotExist(err) {
		t.Errorf("the group's directory is still there: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

// CGR3 before Linux 5.14, where there is no cgroup.kill.
func TestKillByFreezing(t *testing.T) {
	testenv.NeedRoot(t)
	g := group(t)
	end := sleeper(t, g)
	if err := killFrozen(g.Path); err != nil {
		t.Fatal(err)
	}
	if err := waitEmpty(g.Path); err != nil {
		t.Fatal(err)
	}
	<-end
}

// CGR1: a process can be moved into the group by hand, where clone3 is refused.
func TestAdd(t *testing.T) {
	testenv.NeedRoot(t)
	g := group(t)
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	if got := strings.TrimSpace(string(g.read("cgroup.procs"))); got != strconv.Itoa(cmd.Process.Pid) {
		t.Errorf("cgroup.procs reads %q, want %d", got, cmd.Process.Pid)
	}
	if err := Remove(g.Path); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
}

// WLD9: Remove touches nothing but cgroup2 directories.
func TestRemoveSparesOtherDirectories(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err == nil {
		t.Error("Remove took an ordinary directory")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if err := Remove(filepath.Join(dir, "missing")); err != nil {
		t.Errorf("Remove of what is not there = %v", err)
	}
}

// CGR1: pure hierarchies, hybrid ones, and machines without any, built by mounts in a namespace of
// the test.
func TestMount(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.InRoot(t, func(t *testing.T) {
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		const at = "/sys/fs/cgroup"
		must(unix.Mount("none", at, "tmpfs", 0, ""))
		if dir, err := Mount(); !errors.Is(err, probe.ErrUnsupported) {
			t.Errorf("Mount with a tmpfs only = %q, %v; want ErrUnsupported", dir, err)
		}
		must(os.Mkdir(at+"/unified", 0o755))
		if dir, err := Mount(); err == nil {
			t.Errorf("Mount took %q, an ordinary directory", dir)
		}
		must(unix.Mount("none", at+"/unified", "cgroup2", 0, ""))
		if dir, err := Mount(); dir != at+"/unified" || err != nil {
			t.Errorf("Mount of a hybrid machine = %q, %v", dir, err)
		}
		must(unix.Mount("none", at, "cgroup2", 0, ""))
		if dir, err := Mount(); dir != at || err != nil {
			t.Errorf("Mount of a pure machine = %q, %v", dir, err)
		}
		g, err := New(at + "/" + Subtree + "/test_pure_" + strconv.Itoa(os.Getpid()))
		must(err)
		must(g.Close())
		_ = unix.Rmdir(at + "/" + Subtree)
	})
}

// CGR1: a user gets groups below a delegated one, and a clear error without one.
func TestParentOfUser(t *testing.T) {
	testenv.NeedRoot(t)
	g := group(t)
	user := &syscall.Credential{Uid: testenv.UID, Gid: testenv.UID}
	run := func(fd int) string {
		t.Helper()
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestParentChild$", "-test.v")
		cmd.Env = append(os.Environ(), "SUBSTRATE_TEST_PARENT=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd, Credential: user}
		out, _ := cmd.CombinedOutput()
		return string(out)
	}
	if out := run(g.FD()); !strings.Contains(out, "refused: use the cgroup") {
		t.Errorf("without delegation:\n%s", out)
	}
	for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := os.Chown(filepath.Join(g.Path, name), testenv.UID, testenv.UID); err != nil {
			t.Fatal(err)
		}
	}
	if out := run(g.FD()); !strings.Contains(out, "made and removed") {
		t.Errorf("in a delegated group:\n%s", out)
	}
}

// TestParentChild is not a test: TestParentOfUser runs it as a user.
func TestParentChild(t *testing.T) {
	if os.Getenv("SUBSTRATE_TEST_PARENT") == "" {
		return
	}
	parent, err := Parent(false)
	if err != nil {
		t.Logf("refused: %v", err)
		return
	}
	g, err := New(filepath.Join(parent, "world"))
	if err != nil {
		t.Fatal(err)
	}
	end := sleeper(t, g)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	<-end
	t.Log("made and removed")
}

// CGR2: missing controllers are named, and their counters are 0.
func TestMissing(t *testing.T) {
	testenv.NeedRoot(t)
	g := group(t)
	have := strings.Fields(string(g.read("cgroup.controllers")))
	for _, c := range Controllers {
		missing := hasWord([]byte(strings.Join(g.Missing, " ")), c)
		if there := hasWord([]byte(strings.Join(have, " ")), c); there == missing {
			t.Errorf("controller %s: there %v, missing %v", c, there, missing)
		}
	}
	if u := g.Usage(); hasWord([]byte(strings.Join(g.Missing, " ")), "memory") && u != (Usage{}) {
		t.Errorf("Usage without the memory controller = %+v", u)
	}
}

// CGR1, CGR2: a limit is in its file, or the error says that its controller is missing.
func TestLimits(t *testing.T) {
	testenv.NeedRoot(t)
	g := group(t)
	for _, test := range []struct {
		controller, file, want string
		set                    func() error
	}{
		{"memory", "memory.max", "67108864", func() error { return g.SetMemory(64 << 20) }},
		{"memory", "memory.swap.max", "0", func() error { return g.SetMemory(64 << 20) }},
		{"pids", "pids.max", "7", func() error { return g.SetPIDs(7) }},
		{"cpu", "cpu.max", "50000 100000", func() error { return g.SetCPUs(0.5) }},
	} {
		missing := slices.Contains(g.Missing, test.controller)
		if err := test.set(); (err != nil) != missing || missing && !errors.Is(err, probe.ErrUnsupported) {
			t.Errorf("%s: %v, its controller is missing: %v", test.file, err, missing)
		}
		got := strings.TrimSpace(string(g.read(test.file)))
		if !missing && got != test.want && !(test.file == "memory.swap.max" && got == "") {
			t.Errorf("%s is %q, want %q", test.file, got, test.want)
		}
	}
}
