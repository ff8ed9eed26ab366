// Vm runs tests on a plain Debian machine in QEMU, one for each architecture: Debian's kernel and
// programs, cgroup v2 alone with all controllers, a readable kernel log, root on ext4, no network,
// and nothing of the host mounted.
//
// The machine is made of what scripts/vm-debian unpacks, of the program in guest, and of the jobs
// in jobs.go. The results are written as `go test -json` would write them, in one file for root
// and one for the ordinary user; testsum reads them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"substrate/tools/vm/job"
)

func main() {
	top := flag.String("top", ".", "top directory of substrate")
	arch := flag.String("arch", "amd64", "architecture of the machine, amd64 or arm64")
	debian := flag.String("debian", "", "directory that scripts/vm-debian printed")
	work := flag.String("work", "", "directory for everything that is made; the results are root.json and user.json in it")
	limit := flag.Duration("limit", 20*time.Minute, "end a boot after this time")
	only := flag.String("run", "", "run only jobs whose name matches this expression")
	test := flag.String("test", "", "of those jobs, run the tests that match this expression instead of their list")
	verbose := flag.Bool("v", false, "print what the jobs print")
	flag.Parse()
	m := &machine{arch: *arch, top: *top, debian: *debian, work: *work, test: *test, limit: *limit}
	if err := m.run(*only, *verbose); err != nil {
		fmt.Fprintf(os.Stderr, "vm, %s: %v\n", *arch, err)
		os.Exit(1)
	}
}

// machine is what the boots of one architecture have in common.
type machine struct {
	arch   string
	top    string // the tree of substrate
	module string // its path, with which go test names packages
	debian string // what scripts/vm-debian unpacked
	work   string
	test   string        // instead of the tests of each job; "" for those
	limit  time.Duration // of one boot
}

func (m *machine) run(only string, verbose bool) error {
	pick, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	jobs, err := m.prepare(pick)
	if err != nil {
		return err
	}
	return m.all(jobs, verbose)
}

// all runs the jobs, boot by boot, and writes the results.
func (m *machine) all(jobs []job.Job, verbose bool) error {
	root, err := os.Create(filepath.Join(m.work, "root.json"))
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	user, err := os.Create(filepath.Join(m.work, "user.json"))
	if err != nil {
		return err
	}
	defer func() { _ = user.Close() }()
	var errs []error
	for _, b := range boots {
		var mine []job.Job
		for _, j := range jobs {
			if j.Boot == b.name {
				mine = append(mine, j)
			}
		}
		if b.arch != m.arch || len(mine) == 0 {
			continue
		}
		began := time.Now()
		outcomes, err := m.boot(b.name, b.parameters, mine)
		errs = append(errs, err)
		fmt.Fprintf(os.Stderr, "boot %s: %.1fs\n", b.name, time.Since(began).Seconds())
		for i := range outcomes {
			if verbose {
				fmt.Fprint(os.Stderr, outcomes[i].Output)
			}
			to := root
			if outcomes[i].job.User {
				to = user
			}
			errs = append(errs, outcomes[i].report(to))
		}
	}
	return errors.Join(errs...)
}

// goBuild runs the go command in dir, for static programs of the machine's architecture.
func (m *machine) goBuild(dir string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+m.arch, "GOFLAGS=-buildvcs=false")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %v: %w", args, err)
	}
	return nil
}
