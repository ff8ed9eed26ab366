package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"substrate/internal/testenv"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// home makes a home directory with an empty trace, which is what the route before the Go runtime
// wants. Its traces are checked when the test ends.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	emptyTrace(t, dir)
	t.Cleanup(func() {
		for _, problem := range checkTraces(dir) {
			t.Error(problem)
		}
	})
	return dir
}

// emptyTrace makes a trace that holds nothing.
func emptyTrace(t *testing.T, home string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(home, ".substrate"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".substrate", "trace.jsonl"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// traceOf reads the trace of a home.
func traceOf(t *testing.T, home string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(home, ".substrate", "trace.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// running is a substrate whose output can be read line by line.
type running struct {
	*exec.Cmd
	lines *bufio.Reader
	stdin io.WriteCloser
}

// begin starts a recorder with -c script and waits for the line "ready".
func begin(t *testing.T, home string, by recorder, script string) running {
	t.Helper()
	cmd := exec.Command(by.path, "-c", script)
	cmd.Env = by.env(home)
	// A group of its own, whose parent is in another one of the same session, is not orphaned. In
	// an orphaned one, which a test may well have been started in, the kernel discards SIGTSTP
	// (setpgid(2)).
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	r := running{cmd, bufio.NewReader(stdout), stdin}
	r.expect(t, "ready")
	return r
}

// expect reads the next line.
func (r running) expect(t *testing.T, want string) {
	t.Helper()
	got := make(chan string, 1)
	go func() {
		line, _ := r.lines.ReadString('\n')
		got <- strings.TrimSpace(line)
	}()
	select {
	case line := <-got:
		if line != want {
			t.Fatalf("the command printed %q, want %q", line, want)
		}
	case <-time.After(patience):
		t.Fatalf("the command did not print %q", want)
	}
}

// send sends a signal to substrate itself.
func (r running) send(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := r.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// end waits and compares the status.
func (r running) end(t *testing.T, want int) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, r.lines)
		_ = r.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("substrate did not end")
	}
	if got := statusOf(r.ProcessState); got != want {
		t.Errorf("substrate ended with %d, want %d", got, want)
	}
}

// TestSameAsBash compares what a command sees of itself: everything that a caller passes
// on to bash -c must arrive (REC1, RPL4).
func TestSameAsBash(t *testing.T) {
	const signals = `grep -E "^Sig(Blk|Ign|Cgt)" /proc/self/status`
	const fds = `cd /proc/$$/fd && echo *; for f in 5 9; do [ -e $f ] && readlink $f; done; true`
	tests := []struct{ name, before, command string }{
		{"signals", ``, signals},
		{"ignored signals", `trap "" PIPE TERM USR1 QUIT HUP INT`, signals},
		{"ignored faults and signals of the runtime", `trap "" SEGV BUS FPE CHLD URG PROF RTMIN RTMAX TSTP`, signals},
		{"blocked signals", `perl -MPOSIX=:signal_h -e 'sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGUSR2, SIGCHLD, SIGTERM)); exec @ARGV' --`, signals},
		{"files", `exec 5</etc/passwd 9>/dev/null`, fds},
		{"standard input closed", `exec 5</etc/passwd <&-`, fds},
		{"all closed but one", `exec <&- 2>&-`, fds},
		{"umask", `umask 027`, `umask`},
		{"umask of all", `umask 777`, `umask`},
		{"limits", `ulimit -Sn 77; ulimit -Hn 99; ulimit -c 0; ulimit -s 4096`, `ulimit -Sa; ulimit -Ha`},
		{"environment", `export A="b c" EMPTY= NEWLINE=$'\n'`, `env -0 | grep -zv "^SHIM_" | sort -z | tr "\0" "|"`},
		{"process group, session, terminal", ``, `cut -d" " -f 5-8 /proc/$$/stat`},
		{"directory", `cd -P /proc/self/cwd/..`, `pwd; pwd -P; echo "$PWD"`},
		{"priority", `renice -n 15 $$ >/dev/null`, `nice`},
	}
	for _, test := range tests {
		for _, by := range recorders() {
			t.Run(test.name+", "+by.name, func(t *testing.T) { sameAsBash(t, by, test.before, test.command) })
		}
	}
}

func sameAsBash(t *testing.T, by recorder, before, command string) {
	dir := home(t)
	env := by.env(dir)
	if !strings.HasPrefix(before, "perl") {
		before += "\nexec"
	}
	run := func(shell string) result {
		return runProgram(dir, env, "", "/bin/bash", "-c", before+" "+shell+` -c "$1"`, "sh", command)
	}
	want, got := run("/bin/bash"), run(by.path)
	got.stderr = strings.ReplaceAll(got.stderr, by.path+":", "bash:")
	want.stderr = strings.ReplaceAll(want.stderr, "/bin/bash:", "bash:")
	if got != want {
		t.Errorf("recorded:\n%+v\nbash:\n%+v", got, want)
	}
	if n := len(spansOf(traceOf(t, dir))); n != 1 {
		t.Errorf("%d spans, want 1", n)
	}
}

// TestSignalsArePassedOn sends signals to substrate alone, as an agent does that knows
// one process id (REC1, REC4).
func TestSignalsArePassedOn(t *testing.T) {
	for _, sig := range []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGXCPU, syscall.SIGIO, syscall.SIGPWR, syscall.SIGPIPE, syscall.SIGXFSZ, 34, 64,
	} {
		for _, by := range recorders() {
			t.Run(fmt.Sprint(int(sig), ", ", by.name), func(t *testing.T) {
				t.Parallel()
				dir := home(t)
				r := begin(t, dir, by, fmt.Sprintf(`trap "echo got; exit 3" %d; echo ready; while :; do read -t 0.01 <&1; done 2>/dev/null`, sig))
				r.send(t, sig)
				r.expect(t, "got")
				r.end(t, 3)
				if got := lastComplete(traceOf(t, dir)); field(got, "exit") != "3" || field(got, "term_signal") != "" {
					t.Errorf("the span has exit %q, term_signal %q", field(got, "exit"), field(got, "term_signal"))
				}
			})
		}
	}
}

// TestKilledBySignal has the command die of each signal that kills (REC4).
func TestKilledBySignal(t *testing.T) {
	harmless := map[int]bool{3: true /* bash itself ignores SIGQUIT */, 17: true, 18: true, 19: true, 20: true, 21: true, 22: true, 23: true, 28: true}
	dir := home(t)
	for _, by := range recorders() {
		for n := 1; n <= 31; n++ {
			if harmless[n] {
				continue
			}
			got := runProgram(dir, by.env(dir), "", by.path, "-c", fmt.Sprintf("ulimit -c 0; kill -%d $$", n))
			span := lastComplete(traceOf(t, dir))
			if got.status != 128+n || field(span, "exit") != fmt.Sprint(128+n) || field(span, "term_signal") != fmt.Sprint(n) {
				t.Errorf("%s, signal %d: status %d, exit %s, term_signal %s", by.name, n, got.status, field(span, "exit"), field(span, "term_signal"))
			}
		}
	}
}

// TestSignalWithoutTrap ends the command, and the span (REC3, REC4).
func TestSignalWithoutTrap(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT, syscall.SIGUSR1} {
		for _, by := range recorders() {
			dir := home(t)
			r := begin(t, dir, by, "echo ready; exec sleep 60")
			r.send(t, sig)
			r.end(t, 128+int(sig))
			if got := field(lastComplete(traceOf(t, dir)), "term_signal"); got != fmt.Sprint(int(sig)) {
				t.Errorf("%s: term_signal %s, want %d", by.name, got, sig)
			}
		}
	}
}

// TestStopAndContinue stops the command and sees substrate stop with it, and go on with it.
func TestStopAndContinue(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGTSTP} {
		for _, by := range recorders() {
			r := begin(t, home(t), by, fmt.Sprintf("echo ready; kill -%d $$; echo again; exit 4", sig))
			waitState(t, r.Process.Pid, 'T')
			r.send(t, syscall.SIGCONT)
			r.expect(t, "again")
			r.end(t, 4)
		}
	}
}

// waitState waits for a state of /proc/PID/stat.
func waitState(t *testing.T, pid int, want byte) {
	t.Helper()
	var got string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		got = string(stat[strings.LastIndexByte(string(stat), ')')+2:])
		if got[0] == want {
			return
		}
	}
	t.Fatalf("process %d is in state %c, want %c", pid, got[0], want)
}

// TestGoesOnOnce has the command go on first, and substrate after it: the command gets no second
// SIGCONT.
func TestGoesOnOnce(t *testing.T) { // REC1
	for _, by := range recorders() {
		r := begin(t, home(t), by, `trap 'n=$((n+1)); echo went on $n' CONT; echo ready; kill -STOP $$; read x; echo end; exit 4`)
		pid := r.Process.Pid
		waitState(t, pid, 'T')
		child := childOf(t, pid)
		if err := syscall.Kill(child, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "went on 1")
		r.send(t, syscall.SIGCONT)
		waitState(t, pid, 'S')
		if _, err := io.WriteString(r.stdin, "x\n"); err != nil {
			t.Fatal(err)
		}
		r.expect(t, "end")
		r.end(t, 4)
	}
}

// childOf is the child of process pid, whichever of its threads made it.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(lists) == 0 {
		testenv.Skip(t, "needs /proc/PID/task/TID/children")
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if fields := strings.Fields(string(text)); err == nil && len(fields) > 0 {
			child, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatal(err)
			}
			return child
		}
	}
	t.Fatalf("substrate has no child: %q", lists)
	return 0
}

// TestKilledTakesTheCommandAlong: SIGKILL ends what substrate -c started, as it ends bash -c
// (REC1).
func TestKilledTakesTheCommandAlong(t *testing.T) {
	for _, by := range recorders() {
		dir := t.TempDir()
		emptyTrace(t, dir)
		r := begin(t, dir, by, "echo ready; exec sleep 60 2>/dev/null")
		r.send(t, syscall.SIGKILL)
		r.expect(t, "") // the end of its output
		_ = r.Wait()
	}
}

// TestLimitOnFileSize: a trace that the limit forbids to grow does not keep the command from
// running.
func TestLimitOnFileSize(t *testing.T) { // REC9
	for _, by := range recorders() {
		dir := t.TempDir()
		emptyTrace(t, dir)
		trace := filepath.Join(dir, ".substrate", "trace.jsonl")
		if err := os.WriteFile(trace, []byte(strings.Repeat("{}\n", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		got := runProgram("/", by.env(dir), "", "/bin/bash", "-c", `ulimit -f 1; exec "$0" -c 'exit 3'`, by.path)
		if got.status != 3 || !strings.Contains(got.stderr, "this command is not recorded") {
			t.Errorf("%s: %+v, want status 3 and a warning", by.name, got)
		}
	}
}

// TestKilledItself leaves the start line alone (REC3).
func TestKilledItself(t *testing.T) {
	for _, by := range recorders() {
		dir := t.TempDir()
		emptyTrace(t, dir)
		r := begin(t, dir, by, "echo ready; read x")
		r.send(t, syscall.SIGKILL)
		_ = r.Wait() // by its death our end of the pipe closes, and the command ends too
		lines := recordsOf(traceOf(t, dir))
		if len(lines) != 1 || lines[0]["event_type"] != "command_start" {
			t.Errorf("%s: the trace holds %v, want one start line", by.name, lines)
		}
	}
}

// TestEveryEndingIsRecordedOnce runs commands that end in all kinds of ways, many at a
// time; that each has one start and one complete line is checked by home (REC3).
func TestEveryEndingIsRecordedOnce(t *testing.T) {
	dir := home(t)
	endings := [][]string{
		{"-c", "true"},
		{"-c", "exit 255"},
		{"-c", "kill -KILL $$"},
		{"-c", "kill -SEGV $$"},
		{"-c", "no-such-program"},
		{"-c", "exec no-such-program"},
		{"-c", "("},
		{"-c"},
		{"-Z"},
		{"no-such-script"},
		{"-s"},
		{},
		{"--shell", "/no/such", "-c", "true"},
		{"--shell", "/", "-c", "true"},
		{"-c", "echo \xff\xfe 'not UTF-8'"},
		{"-c", ": " + strings.Repeat("x", 120_000)},
		{"-c", "sleep 0.1 & exit 2"},
		{"-c", "\n\t\"\\\x01"},
		{"-c", "exec 0<&- 1>&- 2>&-"},
		{"-c", "cd /; rmdir $PWD 2>/dev/null; kill -HUP $$"},
		{"-c", "wait; exec true"},
		{"-n", "-c", "x"},
	}
	var wait sync.WaitGroup
	for range 4 {
		for _, args := range endings {
			wait.Go(func() { runProgram(dir, cleanEnv(dir), "exit 3\n", program, args...) })
		}
	}
	wait.Wait()
	if got, want := len(spansOf(traceOf(t, dir))), 4*len(endings); got != want {
		t.Errorf("the trace holds %d spans, want %d", got, want)
	}
}

// TestWorkingDirectoryIsGone: there is no name to record, and the command runs (REC9).
func TestWorkingDirectoryIsGone(t *testing.T) {
	dir := home(t)
	got := runProgram(dir, cleanEnv(dir), "", "/bin/bash", "-c",
		`mkdir d && cd d && rmdir ../d && exec "$0" -c "echo out"`, program)
	if got.stdout != "out\n" || got.status != 0 {
		t.Errorf("%+v", got)
	}
}

// TestTraceCannotBeWritten needs mounts: a full disk, and a home that is read-only (REC9).
func TestTraceCannotBeWritten(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		for _, test := range []struct {
			name, option string
			flags        uintptr
			want         string
		}{
			{"full disk", "size=4k", 0, "no space left on device"},
			{"read-only home", "", syscall.MS_RDONLY, "read-only file system"},
		} {
			dir := t.TempDir()
			if err := syscall.Mount("none", dir, "tmpfs", test.flags, test.option); err != nil {
				t.Fatal(err)
			}
			if test.flags == 0 {
				if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 4096), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := runProgram("/", cleanEnv(dir), "", program, "-c", "echo out; echo err >&2; exit 9")
			if err := syscall.Unmount(dir, 0); err != nil {
				t.Error(err)
			}
			warning, rest, _ := strings.Cut(got.stderr, "\n")
			if got.stdout != "out\n" || got.status != 9 || rest != "err\n" ||
				!strings.HasPrefix(warning, "substrate: warning: ") || !strings.Contains(warning, test.want) {
				t.Errorf("%s: %+v", test.name, got)
			}
		}
	})
}

// TestHomeOfAnotherUser is the same for an ordinary user, and for one without a home (REC9).
func TestHomeOfAnotherUser(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	for _, env := range [][]string{cleanEnv(dir), cleanEnv("")} {
		cmd := exec.Command(program, "-c", "echo out; exit 9")
		cmd.Env, cmd.Dir = env, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		if os.Getuid() == 0 {
			cmd.SysProcAttr.Credential = &syscall.Credential{Uid: testenv.UID, Gid: testenv.UID}
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		stdout, _ := cmd.Output()
		if string(stdout) != "out\n" || cmd.ProcessState.ExitCode() != 9 ||
			(strings.Count(stderr.String(), "\n") != 1 || !strings.HasPrefix(stderr.String(), "substrate: warning: ")) {
			t.Errorf("HOME=%q: stdout %q, stderr %q, %v", env[0], stdout, stderr.String(), cmd.ProcessState)
		}
	}
}
