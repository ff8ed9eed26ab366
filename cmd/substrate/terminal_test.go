package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is a program on a terminal of its own.
type terminal struct {
	*exec.Cmd
	tty *os.File

	mu   sync.Mutex
	seen bytes.Buffer
	from int // what was expected before ends here
}

// onTerminal starts a program as the leader of a session on a new terminal.
func onTerminal(t *testing.T, home, path string, args ...string) *terminal {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(cleanEnv(home), "TERM=dumb", "PS1=$ ", "HISTFILE=")
	blocking, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	// A file that is read from cannot be closed unless the poller does the waiting.
	fd, err := syscall.Dup(int(blocking.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	_ = blocking.Close()
	syscall.CloseOnExec(fd)
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	tty := os.NewFile(uintptr(fd), "terminal")
	term := &terminal{Cmd: cmd, tty: tty}
	go term.read()
	t.Cleanup(func() {
		_ = tty.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return term
}

func (term *terminal) read() {
	buf := make([]byte, 4096)
	for {
		n, err := term.tty.Read(buf)
		term.mu.Lock()
		term.seen.Write(buf[:n])
		term.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// expect waits until the terminal shows what the pattern matches, after what was expected before.
func (term *terminal) expect(t *testing.T, pattern string) {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		term.mu.Lock()
		at := re.FindIndex(term.seen.Bytes()[term.from:])
		if at != nil {
			term.from += at[1]
		}
		term.mu.Unlock()
		if at != nil {
			return
		}
	}
	term.mu.Lock()
	defer term.mu.Unlock()
	t.Fatalf("the terminal shows %q, which lacks %s", term.seen.String()[term.from:], pattern)
}

// typed types.
func (term *terminal) typed(t *testing.T, keys string) {
	t.Helper()
	if _, err := term.tty.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// ended waits for the end and compares the status.
func (term *terminal) ended(t *testing.T, want int) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		_ = term.Wait()
		close(done)
	}()
	select {
	case <-done:
		if got := statusOf(term.ProcessState); got != want {
			t.Errorf("the program ended with %d, want %d", got, want)
		}
	case <-time.After(patience):
		t.Fatal("the program did not end")
	}
}

const (
	ctrlC         = "\x03"
	ctrlZ         = "\x1a"
	ctrlBackslash = "\x1c"
)

// TestCtrlC: the terminal sends SIGINT to the command, and substrate does not send it again (REC1).
func TestCtrlC(t *testing.T) {
	dir := home(t)
	term := onTerminal(t, dir, program, "-c", `n=0; trap 'n=$((n+1))' INT; echo ready; read -t 1 x; read -t 0.5 x; echo "n is $n"; exit 5`)
	term.expect(t, "ready\r\n")
	term.typed(t, ctrlC)
	term.expect(t, `n is 1\r\n`)
	term.ended(t, 5)

	term = onTerminal(t, dir, program, "-c", "echo ready; exec sleep 60")
	term.expect(t, "ready")
	term.typed(t, ctrlC)
	term.ended(t, 130)

	term = onTerminal(t, dir, program, "-c", "ulimit -c 0; echo ready; exec sleep 60")
	term.expect(t, "ready")
	term.typed(t, ctrlBackslash)
	stop := time.AfterFunc(time.Second, func() { // bash ignores SIGQUIT, and may not be sleep yet
		_, _ = term.tty.WriteString(ctrlBackslash)
	})
	defer stop.Stop()
	term.ended(t, 131)
}

// TestCtrlCEndsScripts: what runs a script stops at the command that Ctrl-C ended, also if there is
// a shim, or substrate, in front of that.
func TestCtrlCEndsScripts(t *testing.T) { // REC1, SHM5
	for _, by := range recorders() {
		dir := home(t)
		cmd := by.path + ` -c 'trap "trap - INT; kill -INT \$\$" INT; echo ready; while :; do sleep 0.02; done'; echo went on`
		env := by.env(dir)
		term := onTerminal(t, dir, "/usr/bin/env", append(env, "/bin/bash", "-c", cmd)...)
		term.expect(t, "ready\r\n")
		term.typed(t, ctrlC)
		term.ended(t, 130)
	}
}

// TestTerminalIsTheCallers: the command has the terminal, reads from it and may ask it (REC1).
func TestTerminalIsTheCallers(t *testing.T) {
	term := onTerminal(t, home(t), program, "-c", `tty; stty size; echo ready; cat; echo end`)
	if err := pty.Setsize(term.tty, &pty.Winsize{Rows: 33, Cols: 44}); err != nil {
		t.Fatal(err)
	}
	term.expect(t, `/dev/pts/\d+\r\n`)
	term.expect(t, "ready\r\n")
	term.typed(t, "typed\n\x04")
	term.expect(t, "typed\r\ntyped\r\nend")
	term.ended(t, 0)
}

// TestJobControl stops and continues commands from an interactive bash (REC1).
func TestJobControl(t *testing.T) {
	dir := home(t)
	term := onTerminal(t, dir, "/bin/bash", "--norc", "--noprofile", "--noediting", "-i")
	term.expect(t, `\$ `)
	for _, command := range []string{
		`echo ready; read x; echo "got $x"; exit 7`,
		`bash -c "echo ready; read x; echo got \$x; exit 7"; exit $?`,
	} {
		term.typed(t, "substrate -c '"+command+"'\n")
		term.expect(t, "ready\r\n")
		term.typed(t, ctrlZ)
		term.expect(t, `Stopped`)
		term.typed(t, "echo prompt$((1+1))\n")
		term.expect(t, `prompt2\r\n`)
		term.typed(t, "fg\n")
		term.expect(t, `fg\r\n`)
		term.typed(t, "hello\n")
		term.expect(t, "got hello\r\n")
		term.typed(t, "echo status=$?\n")
		term.expect(t, `status=7\r\n`)
	}

	// In the background, where reading from the terminal stops a job.
	term.typed(t, "substrate -c 'read x; echo \"got $x\"' &\n")
	term.typed(t, "until [[ $(jobs) == *Stopped* ]]; do sleep 0.05; done; echo kno\"\"wn\n")
	term.expect(t, "known\r\n")
	term.typed(t, "fg\n")
	term.expect(t, `read x.*\r\n`)
	term.typed(t, "back\n")
	term.expect(t, "got back\r\n")

	// The whole job is killed from its shell.
	term.typed(t, "substrate -c 'echo ready; sleep 60; :'\n")
	term.expect(t, "ready\r\n")
	term.typed(t, ctrlZ)
	term.expect(t, `Stopped`)
	term.typed(t, "kill %1; while kill -0 %1; do sleep 0.05; done 2>/dev/null; echo go\"\"ne\n")
	term.expect(t, "gone\r\n")
	term.typed(t, "exit\n")
	term.ended(t, 0)
	if got := lastComplete(traceOf(t, dir)); field(got, "term_signal") != "15" {
		t.Errorf("the last span is %v, want one that SIGTERM ended", got)
	}
}

// TestTerminalGoesAway: closing the terminal ends the command and completes the span (REC3).
func TestTerminalGoesAway(t *testing.T) {
	for _, command := range []string{"echo ready; exec sleep 60", "echo ready; sleep 60; echo never"} {
		dir := home(t)
		term := onTerminal(t, dir, program, "-c", command)
		term.expect(t, "ready")
		if err := term.tty.Close(); err != nil {
			t.Fatal(err)
		}
		term.ended(t, 129)
		if got := field(lastComplete(traceOf(t, dir)), "term_signal"); got != "1" {
			t.Errorf("term_signal %q, want 1", got)
		}
	}

	// In an interactive shell, which passes the signal on to its jobs.
	dir := home(t)
	term := onTerminal(t, dir, "/bin/bash", "--norc", "--noprofile", "-i")
	term.typed(t, "substrate -c 'echo rea\"\"dy; sleep 60; :'\n")
	term.expect(t, "ready")
	_ = term.tty.Close()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if got := lastComplete(traceOf(t, dir)); got != nil {
			if field(got, "term_signal") != "1" {
				t.Errorf("the span is %v, want one that SIGHUP ended", got)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("the span was not completed")
		}
	}
}

// TestPlainShellOnTerminal: with nothing to run, substrate becomes the user's shell, says
// so in one line, and records nothing.
func TestPlainShellOnTerminal(t *testing.T) {
	dir := t.TempDir()
	term := onTerminal(t, dir, program)
	term.expect(t, `substrate: hint: this session is not recorded`)
	term.typed(t, "echo $0-$$; exit 4\n")
	term.expect(t, `bash-\d+\r\n`)
	if exe, err := os.Readlink("/proc/" + strconv.Itoa(term.Process.Pid) + "/exe"); err == nil && exe == program {
		t.Error("substrate is still there, want it replaced by the shell")
	}
	term.ended(t, 4)
	if _, err := os.Stat(dir + "/.substrate"); !os.IsNotExist(err) {
		t.Errorf("a trace was begun: %v", err)
	}

	login := onTerminal(t, dir, "/bin/bash", "-c", `exec -a -substrate "$0"`, program)
	login.typed(t, "shopt login_shell; exit 2\n")
	login.expect(t, `login_shell\s+on`)
	login.ended(t, 2)
}

// TestInterruptsOfABackgroundJob: a shell without job control starts "&" jobs with SIGINT
// ignored, and so it stays (REC1).
func TestInterruptsOfABackgroundJob(t *testing.T) {
	term := onTerminal(t, home(t), "/bin/bash", "-c",
		program+` -c 'echo ready; sleep 0.7; echo survived; exit 6' & trap : INT; wait $! || wait $!; echo status=$?`)
	term.expect(t, "ready")
	term.typed(t, ctrlC)
	term.expect(t, "survived")
	term.expect(t, "status=6")
	term.ended(t, 0)
}

// TestSendersTellApart: SIGINT of another process reaches the command, once.
func TestSendersTellApart(t *testing.T) {
	r := begin(t, home(t), recorders()[0], `trap 'echo got' INT; echo ready; read -t 1 x; read -t 0.5 x; exit 0`)
	r.send(t, syscall.SIGINT)
	r.expect(t, "got")
	r.end(t, 0)
}
