package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Ctrl-C ends all replays that run and lets no other begin; the table says what became of each.
func TestManyReplaysAreInterrupted(t *testing.T) { // RPL12, RPL10
	home, dir := home(t), t.TempDir()
	run := func(args ...string) *exec.Cmd {
		cmd := exec.Command(program, args...)
		cmd.Env, cmd.Dir = cleanEnv(home), dir
		return cmd
	}
	const script = `test -e first && { echo $$ > pid.tmp; mv pid.tmp pid; exec sleep 1000; }; touch first`
	for range 2 {
		if out, err := run("-c", script).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := os.Remove(filepath.Join(dir, "first")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "first"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	many := run("replay", "--all", "--no-world")
	var stdout, stderr bytes.Buffer
	many.Stdout, many.Stderr = &stdout, &stderr
	if err := many.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for begin := time.Now(); pid == 0; time.Sleep(5 * time.Millisecond) {
		text, _ := os.ReadFile(filepath.Join(dir, "pid"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		if time.Since(begin) > patience {
			_ = many.Process.Kill()
			t.Fatalf("no replay began: %s%s", &stdout, &stderr)
		}
	}
	if err := many.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := many.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("ended with %v, want status 130", err)
	}
	if !strings.Contains(stdout.String(), "\tdiffers\t") || !strings.Contains(stdout.String(), "\tfailed\t") || !strings.Contains(stdout.String(), "not run: interrupt") {
		t.Errorf("table:\n%s%s", &stdout, &stderr)
	}
	for begin := time.Now(); syscall.Kill(pid, 0) == nil && state(pid) != "Z"; time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("process %d of a replay still runs", pid)
		}
	}
}

// state is the letter that proc_pid_stat(5) has for a process, "" if there is none.
func state(pid int) string {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	letter, _, _ := strings.Cut(rest, " ")
	return letter
}
