package main

import (
	"os"
	"path/filepath"
	"regexp"

	"substrate/tools/vm/job"
)

// boots are the starts of the machine, each with the kernel parameters that make it differ.
var boots = []struct{ name, parameters string }{
	{"", "apparmor=1"},
	{"-noapparmor", "apparmor=0"},
}

// tests are the test binaries that run on the machine. QEMU emulates every instruction, so what is chosen is what needs this
// kernel or these controllers, and a sample of the rest.
var tests = []struct {
	pkg, run   string
	root, user bool
	boot       string
	env        []string
}{
	{pkg: "internal/world/cgroup", run: "^Test([^S]|ScopeWithout)", root: true}, // TestScope needs systemd
	{pkg: "internal/world/net/nft", run: ".", root: true},
	{pkg: "internal/world/net/netns", run: ".", root: true},
	{pkg: "internal/world/net/netlog", run: ".", root: true},
	{pkg: "internal/world/view", run: "^Test(KernelOverlay|Random)AsRoot$", root: true, env: []string{"SUBSTRATE_SEEDS=50"}},
	{pkg: "internal/world/view", run: "^Test(KernelOverlay|Random)AsUser$", user: true, env: []string{"SUBSTRATE_SEEDS=50"}},
	{
		pkg: "internal/world", root: true,
		run: "^(TestRun|Test(Memory|PIDs)Limit.*|TestLimits.*|TestGroupCPU|TestSlot.*|TestCrash|TestAsk|TestUpperOnTmpfs|TestKernelLogLines|TestUsernsSettings|TestIsolation(Cgroup|Start|Traffic|View)|TestShowGCOfStrategies)$",
		env: []string{"SUBSTRATE_TEST_PROGRAM=/src/bin/substrate"},
	},
	{pkg: "internal/world", run: "^(TestRun|TestCrash|TestAsk)$", user: true},
	{pkg: "internal/doctor", run: ".", root: true, user: true},
	{pkg: "internal/doctor", run: "^(TestAppArmor|TestPlainMachine|TestReport)$", root: true, user: true, boot: "-noapparmor"},
	{pkg: "internal/cli", run: "^(TestDoctorStatus|TestOOMKills)$", root: true, user: true},
}

// prepare builds what the jobs need and makes the disk.
func prepare(top, work, disk string, pick *regexp.Regexp) ([]job.Job, error) {
	im, err := newImage(filepath.Join(work, "tree"))
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"docs", "bin"} {
		if err := im.copyTree(filepath.Join(top, dir), filepath.Join("/src", dir)); err != nil {
			return nil, err
		}
	}
	var jobs []job.Job
	for _, t := range tests {
		if !pick.MatchString(t.pkg) {
			continue
		}
		binary := filepath.Join(im.root, "src", t.pkg, "test")
		if _, err := os.Stat(binary); err == nil {
			jobs = append(jobs, testJobs(t.pkg, t.run, t.boot, t.env, t.root, t.user)...)
			continue
		}
		if err := goBuild(top, "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", binary, "./"+t.pkg); err != nil {
			return nil, err
		}
		data := filepath.Join(top, t.pkg, "testdata")
		if _, err := os.Stat(data); err == nil {
			if err := im.copyTree(data, filepath.Join("/src", t.pkg, "testdata")); err != nil {
				return nil, err
			}
		}
		jobs = append(jobs, testJobs(t.pkg, t.run, t.boot, t.env, t.root, t.user)...)
	}
	more, err := recipes(top, im, pick)
	if err != nil {
		return nil, err
	}
	return append(jobs, more...), im.disk(disk)
}

// recipes are the jobs that run the programs themselves: the doctor as both, and the recipes of the documentation.
func recipes(top string, im *image, pick *regexp.Regexp) ([]job.Job, error) {
	if err := goBuild(filepath.Join(top, "tools"), "build", "-o", filepath.Join(im.root, "src/bin/validate"), "./validate"); err != nil {
		return nil, err
	}
	if err := im.copy(filepath.Join(top, "README.md"), "/src/README.md"); err != nil {
		return nil, err
	}
	all := []job.Job{
		{Name: "doctor", Argv: []string{"/src/bin/substrate", "world", "doctor"}},
		{Name: "doctor", User: true, Argv: []string{"/src/bin/substrate", "world", "doctor"}},
		{Name: "recipes", Argv: []string{"/usr/bin/timeout", "400", "/src/bin/validate", "docs/worlds.md", "docs/replay.md"}},
	}
	var jobs []job.Job
	for _, j := range all {
		if !pick.MatchString(j.Name) {
			continue
		}
		j.Dir, j.Env = "/src", []string{"PATH=/usr/bin", "HOME=/root", "LANG=C.UTF-8"}
		if j.User {
			j.Env[1] = "HOME=/home/user"
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// testJobs are the jobs of one test binary, for root and for the user.
func testJobs(pkg, run, boot string, env []string, root, user bool) []job.Job {
	var jobs []job.Job
	for _, as := range []struct {
		wanted, user bool
		name, home   string
	}{{root, false, "root", "/root"}, {user, true, "user", "/home/user"}} {
		if !as.wanted {
			continue
		}
		dir := "/src/" + pkg
		jobs = append(jobs, job.Job{
			Name: "substrate/" + pkg, Test: true, User: as.user, Boot: boot, Dir: dir,
			Argv: []string{dir + "/test", "-test.v=test2json", "-test.timeout=10m", "-test.run=" + run},
			Env: append([]string{
				"PATH=/usr/bin", "HOME=" + as.home, "LANG=C.UTF-8", "SUBSTRATE_TEST_AS=vm-" + as.name, "SUBSTRATE_TEST_VM=1",
			}, env...),
		})
	}
	return jobs
}
