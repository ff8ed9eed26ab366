package prestart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// shimmedShell builds substrate-shim, and gives a link to it of the name sh and the environment of
// a plain case.
func shimmedShell(t *testing.T, env []string, flags ...string) (link string, plain []string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "substrate-shim")
	args := append([]string{"build", "-o", bin}, flags...)
	build := exec.Command("go", append(args, "../../cmd/substrate-shim")...)
	build.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false"), env...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build %q: %v\n%s", flags, err, out)
	}
	must(t, os.MkdirAll(filepath.Join(dir, "links"), 0o755))
	link = filepath.Join(dir, "links", "sh")
	must(t, os.Symlink(bin, link))
	must(t, os.Mkdir(filepath.Join(dir, ".substrate"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, ".substrate", "trace.jsonl"), nil, 0o600))
	return link, []string{"HOME=" + dir, "PATH=/usr/bin:/bin", "GOCOVERDIR=" + dir}
}

// TestBuilds: the route is taken however the program was built, unless it was switched off; with
// either route it is right.
func TestBuilds(t *testing.T) {
	const entry = "-ldflags=-E substrate_entry"
	for _, test := range []struct {
		name    string
		threads string // of the shim; "" for several
		flags   []string
	}{
		{"as shipped", "1", []string{"-trimpath", "-ldflags=-s -w -E substrate_entry"}},
		{"without optimization", "1", []string{"-gcflags=-N -l", entry}},
		{"for coverage", "1", []string{"-cover", "-coverpkg=substrate/...", entry}},
		{"position independent", "1", []string{"-buildmode=pie", entry}},
		{"switched off", "", []string{"-tags=noearly", entry}},
		{"entered elsewhere", "", []string{"-trimpath"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			link, env := shimmedShell(t, nil, test.flags...)
			cmd := exec.Command(link, "-c", `trap "" USR1; grep Threads /proc/$PPID/status; echo "$0|$1"; exit 5`, "a b", "c")
			cmd.Env = env
			out, _ := cmd.CombinedOutput()
			threads, rest, _ := strings.Cut(strings.TrimPrefix(string(out), "Threads:\t"), "\n")
			if cmd.ProcessState.ExitCode() != 5 || rest != "a b|c\n" || (threads == "1") != (test.threads == "1") {
				t.Errorf("%v, output %q", cmd.ProcessState, out)
			}
			checkLines(t, env, `"exit":5,`)
		})
	}
}

// TestARM64 runs the shim for the other architecture, if there is an emulator. That runs the
// program natively and makes of a vfork a fork, so what cannot be executed is not asked for.
func TestARM64(t *testing.T) {
	qemu, err := exec.LookPath("qemu-aarch64-static")
	if err != nil {
		qemu, err = exec.LookPath("qemu-aarch64")
	}
	link, env := shimmedShell(t, []string{"GOARCH=arm64"}, "-ldflags=-E substrate_entry")
	if err != nil {
		t.Skip("built, not run: no qemu-aarch64 on PATH (package qemu-user-static)")
	}
	for _, variable := range []string{"X=1", "SUBSTRATE_EARLY=0"} {
		cmd := exec.Command(qemu, "-0", "sh", link, "-c", `echo "$0|$1|$SHIM_CALL_STACK"; kill -TERM $$`, "a b", "c")
		cmd.Env = append(env, variable)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM || string(out) != "a b|c|sh\n" {
			t.Errorf("%s: %v, output %q", variable, cmd.ProcessState, out)
		}
		checkLines(t, env, `"exit":143,"term_signal":15,`)
	}
	// What maps memory is the runtime.
	cmd := exec.Command(qemu, "-strace", "-0", "sh", link, "-c", "exit 0")
	cmd.Env = env
	if out, err := cmd.CombinedOutput(); err != nil || strings.Contains(string(out), " mmap(") || !strings.Contains(string(out), " exit_group(0)") {
		t.Errorf("%v, the runtime was started: %s", err, out)
	}
}

// checkLines compares the trace of a home with one span of a certain ending, and empties it.
func checkLines(t *testing.T, env []string, ending string) {
	t.Helper()
	path := filepath.Join(strings.TrimPrefix(env[0], "HOME="), ".substrate", "trace.jsonl")
	text, err := os.ReadFile(path)
	must(t, err)
	lines := strings.Split(string(text), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], `"event_type":"command_start"`) || !strings.Contains(lines[1], ending) {
		t.Errorf("the trace holds %q, want a start line and a complete line with %s", lines, ending)
	}
	must(t, os.Truncate(path, 0))
}
