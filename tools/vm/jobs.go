package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"substrate/tools/vm/job"
)

// boots are the starts of the machines, each with the kernel parameters that make it differ.
var boots = []struct{ name, arch, parameters string }{
	{"amd64", "amd64", "apparmor=1"},
	{"amd64-noapparmor", "amd64", "apparmor=0"},
	{"arm64", "arm64", "apparmor=1"},
}

// tests are the test binaries that run on the machines. QEMU emulates every instruction, so these
// are the tests that need this kernel or these controllers, and a sample of the rest; on arm64 a
// few of each kind, because no other test executes its machine code.
var tests = []struct {
	boot, pkg  string
	run        string // expressions that each match the whole name of a test
	scripts    string // and the names of scripts, for TestScripts
	root, user bool
	env        []string
}{
	{boot: "amd64", pkg: "internal/world/cgroup", run: "Test[^S].* TestScopeWithout", root: true}, // no systemd here
	{boot: "amd64", pkg: "internal/world/net/nft", run: ".*", root: true},
	{boot: "amd64", pkg: "internal/world/net/netns", run: ".*", root: true},
	{boot: "amd64", pkg: "internal/world/net/netlog", run: ".*", root: true},
	{boot: "amd64", pkg: "internal/world/view", run: "TestKernelOverlayAsRoot TestRandomAsRoot", root: true, env: []string{"SUBSTRATE_SEEDS=50"}},
	{boot: "amd64", pkg: "internal/world/view", run: "TestKernelOverlayAsUser TestRandomAsUser", user: true, env: []string{"SUBSTRATE_SEEDS=50"}},
	{boot: "amd64", pkg: "internal/world/state", run: "TestSlot.*", root: true},
	{
		boot: "amd64", pkg: "internal/world", root: true,
		run: "TestRun TestMemoryLimit.* TestPIDsLimit.* TestLimits.* TestGroupCPU TestCrash TestAsk TestUpperOnTmpfs TestKernelLogLines " +
			"TestUsernsSettings TestIsolationCgroup TestIsolationStart TestIsolationTraffic TestIsolationView TestShowGCOfStrategies",
	},
	{boot: "amd64", pkg: "internal/world", run: "TestRun TestCrash TestAsk", user: true},
	{boot: "amd64", pkg: "internal/doctor", run: ".*", root: true, user: true},
	{boot: "amd64-noapparmor", pkg: "internal/doctor", run: "TestAppArmor TestPlainMachine TestReport", root: true, user: true},
	{boot: "amd64", pkg: "internal/cli", run: "TestDoctorStatus TestOOMKills", root: true, user: true},
	{
		boot: "arm64", pkg: "cmd/substrate", root: true,
		run:     "TestPrestartIsTaken TestPrestartMemory TestRoutesWriteTheSame TestScripts",
		scripts: "shell_command shim_recipes world_run world_network world_list_gc replay_world",
	},
	{
		boot: "arm64", pkg: "cmd/substrate", user: true,
		run:     "TestPrestartIsTaken TestScripts",
		scripts: "shim_recipes world_run world_rootless world_network world_list_gc replay_world",
	},
	{boot: "arm64", pkg: "internal/world", run: "TestRun TestCrash", root: true},
}

// oneOf is the -test.run expression for a list of names.
func oneOf(names string) string { return "^(" + strings.ReplaceAll(names, " ", "|") + ")$" }

// prepare builds what the jobs of the machine need and makes its disk.
func (m *machine) prepare(pick *regexp.Regexp) ([]job.Job, error) {
	if err := m.goBuild(filepath.Join(m.top, "tools"), "build", "-o", filepath.Join(m.work, "guest"), "./vm/guest"); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(m.top, "go.mod"))
	if err != nil {
		return nil, err
	}
	m.module = strings.TrimPrefix(strings.Split(string(text), "\n")[0], "module ")
	im, err := newImage(m.debian, filepath.Join(m.work, "tree"))
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"substrate", "substrate-shim"} {
		err := m.goBuild(m.top, "build", "-trimpath", "-ldflags=-s -w -E substrate_entry", "-o", filepath.Join(im.root, "src/bin", name), "./cmd/"+name)
		if err != nil {
			return nil, err
		}
	}
	archOf := map[string]string{}
	for _, b := range boots {
		archOf[b.name] = b.arch
	}
	var jobs []job.Job
	for _, t := range tests {
		if archOf[t.boot] != m.arch || !pick.MatchString(t.pkg) {
			continue
		}
		if err := m.buildTest(im, t.pkg); err != nil {
			return nil, err
		}
		run := oneOf(t.run)
		if t.scripts != "" {
			run += "/" + oneOf(t.scripts)
		}
		if m.test != "" {
			run = m.test
		}
		for _, user := range []bool{false, true} {
			if user && t.user || !user && t.root {
				jobs = append(jobs, m.testJob(t.boot, t.pkg, run, t.env, user))
			}
		}
	}
	if m.arch == "amd64" {
		more, err := m.recipes(im, pick)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, more...)
	}
	return jobs, im.disk(filepath.Join(m.work, "disk"))
}

// buildTest puts the test binary of a package and its testdata into the image, once.
func (m *machine) buildTest(im *image, pkg string) error {
	binary := filepath.Join(im.root, "src", pkg, "test")
	if _, err := os.Stat(binary); err == nil {
		return nil
	}
	if err := m.goBuild(m.top, "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", binary, "./"+pkg); err != nil {
		return err
	}
	data := filepath.Join(m.top, pkg, "testdata")
	if _, err := os.Stat(data); err != nil {
		return nil
	}
	return im.copyTree(data, filepath.Join("/src", pkg, "testdata"))
}

// testJob runs a test binary as root or as the user. On arm64 no test may skip.
func (m *machine) testJob(boot, pkg, run string, env []string, user bool) job.Job {
	dir, account := "/src/"+pkg, "root"
	if user {
		account = "user"
	}
	if m.arch == "arm64" {
		env = append(env, "SUBSTRATE_NO_SKIP=1")
	}
	return job.Job{
		Name: m.module + "/" + pkg, Test: true, User: user, Boot: boot, Dir: dir,
		Argv: []string{dir + "/test", "-test.v=test2json", "-test.timeout=10m", "-test.run=" + run},
		Env:  append(environment(user), append(env, "SUBSTRATE_TEST_AS=vm-"+account, "SUBSTRATE_TEST_VM=1", "SUBSTRATE_TEST_PROGRAM=/src/bin/substrate")...),
	}
}

// recipes are the jobs that run the programs themselves: the doctor as both, and the recipes of
// the documentation.
func (m *machine) recipes(im *image, pick *regexp.Regexp) ([]job.Job, error) {
	if err := m.goBuild(filepath.Join(m.top, "tools"), "build", "-o", filepath.Join(im.root, "src/bin/validate"), "./validate"); err != nil {
		return nil, err
	}
	err := errors.Join(im.copy(filepath.Join(m.top, "README.md"), "/src/README.md"), im.copyTree(filepath.Join(m.top, "docs"), "/src/docs"))
	if err != nil {
		return nil, err
	}
	all := []job.Job{
		{Name: "doctor", Argv: []string{"/src/bin/substrate", "world", "doctor"}},
		{Name: "doctor", User: true, Argv: []string{"/src/bin/substrate", "world", "doctor"}},
		{Name: "recipes", Argv: []string{"/usr/bin/timeout", "400", "/src/bin/validate", "docs/worlds.md", "docs/replay.md"}},
	}
	var jobs []job.Job
	for _, j := range all {
		if pick.MatchString(j.Name) {
			j.Boot, j.Dir, j.Env = "amd64", "/src", environment(j.User)
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// environment is what every job has.
func environment(user bool) []string {
	home := "/root"
	if user {
		home = "/home/user"
	}
	return []string{"PATH=/usr/bin:/usr/sbin", "HOME=" + home, "LANG=C.UTF-8"}
}
