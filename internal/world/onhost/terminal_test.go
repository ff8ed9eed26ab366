package onhost

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// screen collects what appears on a terminal.
type screen struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

// waitFor waits until text is on the screen.
func (s *screen) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		found := strings.Contains(s.buf.String(), text)
		s.mu.Unlock()
		if found {
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Fatalf("%q did not appear; the screen holds %q", text, s.buf.String())
}

// onTerminal starts a child that runs a command with Run as the foreground process of a new
// terminal.
func onTerminal(t *testing.T, c Command) (*hostRun, *os.File, *screen) {
	t.Helper()
	h := newHostRun(t, c)
	h.Stdin, h.Stdout, h.Stderr = nil, nil, nil
	master, err := pty.Start(h.Cmd)
	if err != nil {
		t.Fatalf("start on a terminal: %v", err)
	}
	t.Cleanup(func() {
		_ = h.Process.Kill()
		_ = master.Close()
	})
	s := &screen{}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			_, _ = s.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	return h, master, s
}

// RPL10: the command has the terminal: it may read from it at once, and only it gets Ctrl-C.
func TestRunGivesTheTerminal(t *testing.T) {
	h, master, s := onTerminal(t, bash("exec </dev/tty; read a; echo got $a; sleep 60"))
	if _, err := master.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	s.waitFor(t, "got typed")
	if _, err := master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if err := h.Wait(); err != nil {
		t.Fatalf("the child ended with %v, the signal was not for it", err)
	}
	if got := h.outcome(t); got.Exit != 130 || got.Signal != 2 {
		t.Errorf("outcome = %+v, want 130 by signal 2", got)
	}
}

// RPL10: Ctrl-Z stops the command and us, and both continue together.
func TestRunStopsWithTheCommand(t *testing.T) {
	h, master, s := onTerminal(t, bash("echo begun; read a </dev/tty; echo got $a"))
	s.waitFor(t, "begun")
	time.Sleep(20 * time.Millisecond) // let bash come to its read
	if _, err := master.WriteString("\x1a"); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	pid, err := syscall.Wait4(h.Process.Pid, &status, syscall.WUNTRACED, nil)
	if err != nil || pid != h.Process.Pid || !status.Stopped() {
		t.Fatalf("Wait4 = %d, %#x, %v, want a stopped child", pid, status, err)
	}
	if err := h.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := master.WriteString("on\n"); err != nil {
		t.Fatal(err)
	}
	s.waitFor(t, "got on")
	if err := h.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := h.outcome(t); got.Exit != 0 {
		t.Errorf("outcome = %+v, want 0", got)
	}
}

// RPL10: in the background we have no terminal, so we neither hand it over nor take it back.
func TestRunInTheBackground(t *testing.T) {
	script := exec.Command("/bin/bash", "-c", "set -m; \"$0\" & wait; echo back; read a; echo got $a", os.Args[0])
	h := newHostRun(t, bash("echo ran"))
	script.Env = h.Env
	master, err := pty.Start(script)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	s := &screen{}
	go func() {
		buf := make([]byte, 4096)
		for n, err := master.Read(buf); err == nil; n, err = master.Read(buf) {
			_, _ = s.Write(buf[:n])
		}
	}()
	s.waitFor(t, "back")
	if _, err := master.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	s.waitFor(t, "got typed") // or the shell would have been stopped by SIGTTIN
	if err := script.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := h.outcome(t); got.Exit != 0 {
		t.Errorf("outcome = %+v, want 0", got)
	}
}
