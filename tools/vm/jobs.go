package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

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
	{pkg: "internal/world/cgroup", run: ".", root: true},
	{pkg: "internal/world/nft", run: ".", root: true},
	{pkg: "internal/world/netns", run: ".", root: true},
	{pkg: "internal/world/netlog", run: ".", root: true},
	{pkg: "internal/world", run: "^(TestRun|TestMemoryLimit.*|TestPIDsLimit.*|TestLimits.*|TestGroupCPU|TestSlot.*|TestCrash)$", root: true, user: true},
}

// prepare builds what the jobs need and makes the disk.
func prepare(top, work, disk string, pick *regexp.Regexp) ([]job.Job, error) {
	im, err := newImage(filepath.Join(work, "tree"))
	if err != nil {
		return nil, err
	}
	var jobs []job.Job
	for _, t := range tests {
		if !pick.MatchString(t.pkg) {
			continue
		}
		binary := filepath.Join(im.root, "src", t.pkg, "test")
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
	return jobs, im.disk(disk)
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
			Argv: []string{dir + "/test", "-test.v=test2json", "-test.timeout=4m", "-test.run=" + run},
			Env: append([]string{
				"PATH=/usr/bin", "HOME=" + as.home, "LANG=C.UTF-8", "SUBSTRATE_TEST_AS=vm-" + as.name, "SUBSTRATE_TEST_VM=1",
			}, env...),
		})
	}
	return jobs
}

var _ = strings.Fields
