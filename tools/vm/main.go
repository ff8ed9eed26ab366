// Vm runs tests on a plain Debian machine in QEMU: Debian's own kernel, cgroup v2 alone with all
// controllers, a readable kernel log, root on ext4, no network, nothing of the host mounted.
//
// The machine is made from three things: the kernel that scripts/vm-kernel unpacks, an
// initramfs with the program in guest, and a disk with the programs of this machine
// and what is to be run. The jobs stand in jobs.go. The results are written as
// `go test -json` would, one file for root and one for the ordinary user, so that
// testsum can tell them apart.
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
	kernel := flag.String("kernel", "", "directory that scripts/vm-kernel printed")
	work := flag.String("work", "", "directory for everything that is made; the results are root.json and user.json in it")
	memory := flag.Int("memory", 1024, "memory of the machine in MiB")
	limit := flag.Duration("limit", 20*time.Minute, "end a boot after this time")
	only := flag.String("run", "", "run only jobs whose name matches this expression")
	verbose := flag.Bool("v", false, "print what the jobs print")
	flag.Parse()
	if err := run(*top, *kernel, *work, *memory, *limit, *only, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

func run(top, kernel, work string, memory int, limit time.Duration, only string, verbose bool) error {
	pick, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	m := &machine{work: work, memory: memory, limit: limit, guest: filepath.Join(work, "guest"), disk: filepath.Join(work, "disk")}
	files, err := filepath.Glob(filepath.Join(kernel, "boot", "vmlinuz-*"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no kernel in %s: %w", kernel, err)
	}
	m.kernel = files[0]
	if m.modules, err = moduleFiles(filepath.Join(kernel, "lib", "modules")); err != nil {
		return err
	}
	if err := goBuild(filepath.Join(top, "tools"), "build", "-o", m.guest, "./vm/guest"); err != nil {
		return err
	}
	jobs, err := prepare(top, work, m.disk, pick)
	if err != nil {
		return err
	}
	return m.all(jobs, verbose)
}

// all runs the jobs, boot by boot, and writes the results.
func (m *machine) all(jobs []job.Job, verbose bool) error {
	var errs []error
	out := map[bool]*os.File{}
	for user, name := range map[bool]string{false: "root.json", true: "user.json"} {
		f, err := os.Create(filepath.Join(m.work, name))
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		out[user] = f
	}
	for _, b := range boots {
		var mine []job.Job
		for _, j := range jobs {
			if j.Boot == b.name {
				mine = append(mine, j)
			}
		}
		if len(mine) == 0 {
			continue
		}
		began := time.Now()
		outcomes, err := m.boot("boot"+b.name, b.parameters, mine)
		errs = append(errs, err)
		fmt.Fprintf(os.Stderr, "boot with %q: %.1fs\n", b.parameters, time.Since(began).Seconds())
		for i := range outcomes {
			if verbose {
				fmt.Fprint(os.Stderr, outcomes[i].Output)
			}
			errs = append(errs, outcomes[i].report(out[outcomes[i].job.User]))
		}
	}
	return errors.Join(errs...)
}

// goBuild runs the go command in dir, for static programs.
func goBuild(dir string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %v: %w", args, err)
	}
	return nil
}
