package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"substrate/tools/vm/job"
)

// outcome is what a job came to. A job that the guest never ended has Status -1.
type outcome struct {
	job     job.Job
	Output  string
	Status  int
	Elapsed time.Duration
}

// firstJobLimit is how long a boot may take until its first job begins. It takes some seconds.
const firstJobLimit = 2 * time.Minute

// processors are what QEMU emulates for each architecture, with the kernel's parameters for them.
var processors = map[string]struct {
	program    string
	options    []string
	parameters string
}{
	"amd64": {"qemu-system-x86_64", []string{"-machine", "pc", "-cpu", "max"}, "console=ttyS0 tsc=reliable no_timer_check reboot=t"},
	"arm64": {"qemu-system-aarch64", []string{"-machine", "virt", "-cpu", "cortex-a72"}, "console=ttyAMA0"},
}

// boot runs jobs on one start of the machine, or on a second if the first did not come to its end:
// on a host that has other work, emulated processors have been seen to wait for each other for
// ever, in the start of the kernel and later. It returns an outcome for each job, and the end of
// the console if the second start did not come to its end either.
func (m *machine) boot(name, parameters string, jobs []job.Job) ([]outcome, error) {
	outcomes, complete, err := m.start(name, parameters, jobs)
	if !complete {
		fmt.Fprintf(os.Stderr, "boot %s: %v\nstarting it once more\n", name, err)
		outcomes, _, err = m.start(name, parameters, jobs)
	}
	return outcomes, err
}

// start starts the machine once and waits until it is off. It reports whether all jobs ended.
func (m *machine) start(name, parameters string, jobs []job.Job) (outcomes []outcome, complete bool, err error) {
	kernels, err := filepath.Glob(filepath.Join(m.debian, "boot", "vmlinuz-*"))
	if err != nil || len(kernels) == 0 {
		return nil, false, fmt.Errorf("no kernel in %s: %w", m.debian, err)
	}
	modules, err := moduleFiles(filepath.Join(m.debian, "lib", "modules"))
	if err != nil {
		return nil, false, err
	}
	initrd, console := filepath.Join(m.work, name+".cpio"), filepath.Join(m.work, name+".console")
	if err := initramfs(initrd, filepath.Join(m.work, "guest"), modules, jobs); err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.limit)
	defer cancel()
	p := processors[m.arch]
	qemu := exec.CommandContext(ctx, p.program, append(p.options, "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024",
		"-kernel", kernels[0], "-initrd", initrd, "-append", p.parameters+" quiet panic=-1 softlockup_panic=1 "+parameters,
		"-drive", "file="+filepath.Join(m.work, "disk")+",format=raw,if=virtio,snapshot=on,cache=unsafe",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none", "-serial", "file:"+console,
		"-device", "virtio-serial-pci", "-chardev", "file,id=jobs,path=/dev/stdout", "-device", "virtserialport,chardev=jobs,name=jobs")...)
	qemu.Stderr = os.Stderr
	lines, err := qemu.StdoutPipe()
	if err != nil {
		return nil, false, err
	}
	if err := qemu.Start(); err != nil {
		return nil, false, fmt.Errorf("start qemu: %w", err)
	}
	silence := time.AfterFunc(firstJobLimit, cancel)
	outcomes, complete = read(lines, jobs, func() { silence.Stop() })
	err = qemu.Wait()
	if !complete {
		text, _ := os.ReadFile(console)
		err = fmt.Errorf("the machine did not end its jobs within %s, or %s before the first (%v); its console ends with:\n%s",
			m.limit, firstJobLimit, err, text[max(0, len(text)-2000):])
	}
	return outcomes, complete, err
}

// read sorts what the guest writes. It calls begun when a job begins.
func read(in io.Reader, jobs []job.Job, begun func()) (outcomes []outcome, over bool) {
	for _, j := range jobs {
		outcomes = append(outcomes, outcome{job: j, Status: -1})
	}
	at, began := -1, time.Now()
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadString('\n')
		text := strings.TrimSuffix(line, "\n")
		var n, status int
		switch {
		case strings.HasPrefix(text, job.Begin):
			at, _ = strconv.Atoi(text[len(job.Begin):])
			began = time.Now()
			begun()
		case strings.HasPrefix(text, job.End):
			if _, err := fmt.Sscanf(text[len(job.End):], "%d %d", &n, &status); err == nil && n == at {
				outcomes[at].Status, outcomes[at].Elapsed = status, time.Since(began)
				fmt.Fprintf(os.Stderr, "%-44s %6.1fs  status %d\n", outcomes[at].job.Name+userSuffix(outcomes[at].job), outcomes[at].Elapsed.Seconds(), status)
			}
			at = -1
		case text == job.Over:
			over = true
		case at >= 0 && at < len(outcomes):
			outcomes[at].Output += line
		}
		if err != nil {
			return outcomes, over
		}
	}
}

func userSuffix(j job.Job) string {
	if j.User {
		return " (user)"
	}
	return ""
}

// event is a line as `go test -json` prints it.
type event struct {
	Action  string
	Package string
	Test    string  `json:",omitempty"`
	Elapsed float64 `json:",omitempty"`
	Output  string  `json:",omitempty"`
}

// report writes an outcome as `go test -json` would.
func (o *outcome) report(to io.Writer) error {
	if o.job.Test {
		return o.convert(to)
	}
	action := "pass"
	if o.Status != 0 {
		action = "fail"
	}
	enc := json.NewEncoder(to)
	events := []event{
		{Action: "output", Package: "vm", Test: o.job.Name, Output: o.Output + fmt.Sprintf("status %d\n", o.Status)},
		{Action: action, Package: "vm", Test: o.job.Name, Elapsed: o.Elapsed.Seconds()},
		{Action: action, Package: "vm", Elapsed: o.Elapsed.Seconds()},
	}
	for _, e := range events {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	return nil
}

// convert gives the output of a test binary to test2json, which knows its form.
func (o *outcome) convert(to io.Writer) error {
	cmd := exec.Command("go", "tool", "test2json", "-p", o.job.Name)
	text := o.Output
	if o.Status != 0 {
		text += fmt.Sprintf("exit status %d of the test binary\nFAIL\n", o.Status)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), to, os.Stderr
	return cmd.Run()
}
