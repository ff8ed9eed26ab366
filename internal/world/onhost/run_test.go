package onhost

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain runs one command with Run if a test starts this program as a child.
// Run treats all children of its process as its own, so each test uses a process of its own.
func TestMain(m *testing.M) {
	if spec := os.Getenv("ONHOST_TEST_RUN"); spec != "" {
		os.Exit(runChild(spec))
	}
	os.Exit(m.Run())
}

// runChild runs the command of spec and writes the result to the file that the environment names.
func runChild(spec string) int {
	var text commandText
	if err := json.Unmarshal([]byte(spec), &text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	c := text.Command
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	res, err := Run(c)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	out := outcomeOf{Exit: res.Exit, Signal: res.Signal, TimedOut: res.TimedOut, Duration: res.Duration, User: res.User}
	if res.ExecErr != nil {
		out.ExecErr = res.ExecErr.Error()
	}
	data, _ := json.Marshal(out)
	if err := os.WriteFile(os.Getenv("ONHOST_TEST_RESULT"), data, 0o600); err != nil {
		return 1
	}
	return 0
}

// commandText is a Command as the child gets it, without what JSON cannot hold.
type commandText struct {
	Command
	Confine *struct{}
	Signals *struct{}
}

// outcomeOf is the part of a result that the tests look at.
type outcomeOf struct {
	Exit, Signal   int
	TimedOut       bool
	ExecErr        string
	Duration, User time.Duration
}

// hostRun is a child that runs a command with Run.
type hostRun struct {
	*exec.Cmd
	result         string
	stdout, stderr strings.Builder
}

func newHostRun(t *testing.T, c Command) *hostRun {
	t.Helper()
	spec, err := json.Marshal(commandText{Command: c})
	if err != nil {
		t.Fatal(err)
	}
	h := &hostRun{Cmd: exec.Command(os.Args[0]), result: filepath.Join(t.TempDir(), "result")}
	h.Env = append(os.Environ(), "ONHOST_TEST_RUN="+string(spec), "ONHOST_TEST_RESULT="+h.result)
	h.Stdout, h.Stderr = &h.stdout, &h.stderr
	return h
}

// outcome reads the result after the child ended.
func (h *hostRun) outcome(t *testing.T) outcomeOf {
	t.Helper()
	data, err := os.ReadFile(h.result)
	if err != nil {
		t.Fatalf("the child left no result: %v", err)
	}
	var out outcomeOf
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func run(t *testing.T, c Command) (outcomeOf, string) {
	t.Helper()
	h := newHostRun(t, c)
	if err := h.Run(); err != nil {
		t.Fatalf("child: %v\n%s", err, h.stderr.String())
	}
	return h.outcome(t), h.stdout.String()
}

// bash returns a command that runs a script.
func bash(script string) Command {
	return Command{
		Path: "/bin/bash", Argv: []string{"bash", "-c", script}, Dir: "/", Umask: 0o22,
		Env: []string{"PATH=/usr/bin:/bin"},
	}
}

// REC4: the status is the command's; 128+n after a signal; 126 and 127.
func TestRunStatus(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name         string
		c            Command
		exit, signal int
		started      bool
	}{
		{"zero", bash("true"), 0, 0, true},
		{"builtin", bash("exit 3"), 3, 0, true},
		{"signal", bash("kill -TERM $$"), 143, 15, true},
		{"kill", bash("kill -KILL $$"), 137, 9, true},
		{"on PATH", Command{Path: "true", Argv: []string{"true"}, Dir: "/", Env: []string{"PATH=/usr/bin:/bin"}}, 0, 0, true},
		{"not found", Command{Path: "no-such-program", Argv: []string{"x"}, Dir: "/", Env: []string{"PATH=/bin"}}, 127, 0, false},
		{"no such file", Command{Path: "/no/such", Argv: []string{"x"}, Dir: "/"}, 127, 0, false},
		{"not executable", Command{Path: plain, Argv: []string{"x"}, Dir: "/"}, 126, 0, false},
		{"directory", Command{Path: "/usr", Argv: []string{"x"}, Dir: "/"}, 126, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := run(t, tt.c)
			if got.Exit != tt.exit || got.Signal != tt.signal || (got.ExecErr == "") != tt.started {
				t.Errorf("Run = %+v, want exit %d, signal %d", got, tt.exit, tt.signal)
			}
		})
	}
}

// RPL3: umask and environment are those of the plan, and stdin is empty.
func TestRunGivesWhatThePlanSays(t *testing.T) {
	c := bash("umask; env -u _ -u SHLVL -u PWD -u OLDPWD; cat; pwd")
	c.Umask, c.Dir = 0o077, "/usr"
	c.Env = []string{"A=b c", "PATH=/usr/bin:/bin"}
	got, out := run(t, c)
	if want := "0077\nA=b c\nPATH=/usr/bin:/bin\n/usr\n"; got.Exit != 0 || out != want {
		t.Errorf("exit %d, output %q, want %q", got.Exit, out, want)
	}
}

// RPL4: descriptors 0, 1 and 2 and nothing else, also if we inherited more.
func TestRunLeaksNoDescriptor(t *testing.T) {
	h := newHostRun(t, bash("for ((n = 0; n < 256; n++)); do [ -e /proc/$$/fd/$n ] && echo $n; done; true"))
	f, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h.ExtraFiles = []*os.File{f, f, f}
	if err := h.Run(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(h.stdout.String()); strings.Join(got, " ") != "0 1 2" {
		t.Errorf("open descriptors = %v, want 0, 1 and 2", got)
	}
}

// RPL10: the timeout ends every descendant, also one that left the group, and the status is 124.
func TestRunTimeout(t *testing.T) {
	dir := t.TempDir()
	c := bash(`trap '' TERM; setsid sh -c 'trap "" TERM; echo $$ >` + dir + `/away; sleep 60 & wait' & sleep 60 & wait; sleep 60`)
	c.Timeout, c.Grace = 300*time.Millisecond, 200*time.Millisecond
	got, _ := run(t, c)
	if got.Exit != 124 || !got.TimedOut || got.Duration > 10*time.Second {
		t.Errorf("Run = %+v, want 124 after the grace period", got)
	}
	data, err := os.ReadFile(filepath.Join(dir, "away"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	// A killed process takes a moment to die. Alive, it would sleep for a minute.
	for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("process %d, which left the group, outlived the timeout", pid)
		}
	}
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

// RPL10: a signal that is sent to us reaches the command and its descendants.
func TestRunForwardsSignals(t *testing.T) {
	dir := t.TempDir()
	h := newHostRun(t, bash(`setsid bash -c 'trap "echo away; exit" TERM; : >`+dir+`/ready; while :; do sleep 0.02; done' &
		trap 'wait; echo command; exit 7' TERM; while :; do sleep 0.02; done`))
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "ready")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the command did not start")
		}
	}
	if err := h.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := h.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := h.outcome(t); got.Exit != 7 || h.stdout.String() != "away\ncommand\n" {
		t.Errorf("exit %d, output %q, want 7 and both", got.Exit, h.stdout.String())
	}
}

// RPL10: with EndAll, processes that the command leaves behind end with it.
func TestRunEndAll(t *testing.T) {
	dir := t.TempDir()
	c := bash(`setsid sh -c 'trap "" TERM HUP; echo $$ >` + dir + `/away; sleep 1000' & while ! [ -s ` + dir + `/away ]; do sleep 0.01; done`)
	c.EndAll = true
	if got, _ := run(t, c); got.Exit != 0 {
		t.Errorf("Run = %+v", got)
	}
	data, err := os.ReadFile(filepath.Join(dir, "away"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); alive(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatalf("process %d outlived the command", pid)
		}
	}
}

// Run forks the command from the thread that Confine restricted. Other threads stay as they were,
// and if Confine fails nothing is run.
func TestRunConfined(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	c := bash("grep -c 'NoNewPrivs:.1' /proc/self/status >" + ran)
	c.Confine = func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }
	ended, err := Run(c)
	if text, _ := os.ReadFile(ran); err != nil || ended.Exit != 0 || string(text) != "1\n" {
		t.Errorf("Run = %+v, %v; restricted: %q", ended, err, text)
	}
	if v, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err != nil || v != 0 {
		t.Errorf("the caller is restricted too: %d, %v", v, err)
	}
	if err := os.Remove(ran); err != nil {
		t.Fatal(err)
	}
	c.Confine = func() error { return unix.EPERM }
	if ended, err := Run(c); !errors.Is(err, unix.EPERM) {
		t.Errorf("Run = %+v, %v, want EPERM", ended, err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command ran")
	}
}
