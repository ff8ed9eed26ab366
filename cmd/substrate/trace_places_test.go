package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"substrate/internal/tracecheck"
)

// TRC2, TRC3: 16 parallel streams of commands through more than 50 rotations: as many complete
// lines as commands, all of them valid. Half of the streams rotate at 1 MB; the other half has no
// limit in its environment and takes the short way, on which nothing is rotated but what others
// rotate is noticed.
func TestCommandsThroughRotations(t *testing.T) {
	const streams, large, small = 16, 20, 12
	home := t.TempDir()
	rotating := append(cleanEnv(home), "TRACE_LOG_MAX_MB=1", "TRACE_LOG_KEEP=1000")
	var wait sync.WaitGroup
	for s := range streams {
		wait.Go(func() {
			env, n, size := rotating, large, 100_000
			if s%2 == 1 {
				env, n, size = cleanEnv(home), small, 10
			}
			for i := range n {
				cmd := fmt.Sprintf("exit 3 # %d.%d %s", s, i, strings.Repeat("x", size))
				if got := runProgram(home, env, "", program, "-c", cmd); got != (result{status: 3}) {
					t.Errorf("stream %d, command %d: %+v", s, i, got)
				}
			}
		})
	}
	wait.Wait()
	files, err := filepath.Glob(filepath.Join(home, ".substrate", "trace.jsonl*"))
	if err != nil || len(files) <= 50 {
		t.Errorf("%d files, %v, want more than 50 rotations", len(files), err)
	}
	text := ""
	for _, name := range files {
		part, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text += string(part)
	}
	problems, err := tracecheck.Validate(strings.NewReader(text))
	if len(problems) > 0 || err != nil {
		t.Errorf("%d problems, the first %v, %v", len(problems), problems[:min(1, len(problems))], err)
	}
	spans := spansOf([]byte(text))
	for id, s := range spans {
		if len(s.start) != 1 || len(s.complete) != 1 || field(s.complete[0], "exit") != "3" {
			t.Errorf("span %s has %d start and %d complete lines", id, len(s.start), len(s.complete))
		}
	}
	if want := streams / 2 * (large + small); len(spans) != want {
		t.Errorf("%d spans, want %d", len(spans), want)
	}
}

// REC9, TRC1: whatever lies in the place of the trace, the command runs, with at most one warning.
func TestOddTraces(t *testing.T) {
	for name, c := range map[string]struct {
		make     func(path string) error
		recorded bool
	}{
		"directory":         {func(p string) error { return os.Mkdir(p, 0o700) }, false},
		"fifo":              {func(p string) error { return syscall.Mkfifo(p, 0o600) }, false},
		"socket":            {listen, false},
		"link to itself":    {func(p string) error { return os.Symlink(p, p) }, false},
		"link to directory": {func(p string) error { return os.Symlink(filepath.Dir(p), p) }, false},
		"link to device":    {func(p string) error { return os.Symlink("/dev/null", p) }, false},
		"link to nowhere":   {func(p string) error { return os.Symlink("/nosuch/dir/file", p) }, false},
		"link to new file":  {func(p string) error { return os.Symlink("other", p) }, true},
		"link to file": {func(p string) error {
			return errors.Join(os.WriteFile(p+".real", nil, 0o600), os.Symlink("trace.jsonl.real", p))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			home, err := os.MkdirTemp("", "odd") // short, for the name of a socket
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(home) //nolint:errcheck // a temporary directory
			path := filepath.Join(home, ".substrate", "trace.jsonl")
			if err := errors.Join(os.Mkdir(filepath.Dir(path), 0o700), c.make(path)); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				got := runProgram(home, cleanEnv(home), "", program, "-c", "echo out; exit 5")
				warnings := strings.Count(got.stderr, "substrate: warning: ")
				if got.stdout != "out\n" || got.status != 5 || (warnings == 0) != c.recorded || strings.Count(got.stderr, "\n") != warnings || warnings > 1 {
					t.Errorf("%+v", got)
				}
			}
			if c.recorded {
				if text, err := os.ReadFile(path); err != nil || len(recordsOf(text)) != 4 {
					t.Errorf("%d lines, %v, want those of two commands", len(recordsOf(text)), err)
				}
			}
			for _, sub := range [][]string{{"list"}, {"show", "last"}, {"tree"}, {"validate"}, {"compact"}} {
				got := runProgram(home, cleanEnv(home), "", program, append([]string{"trace"}, sub...)...)
				if failed := strings.Contains(got.stderr, "substrate: error: "); failed != (got.status == exitFailure) || got.status != 0 && c.recorded {
					t.Errorf("trace %v: %+v", sub, got)
				}
			}
		})
	}
}

// exitFailure is the status for a failure of ours.
const exitFailure = 125

func listen(path string) error {
	_, err := net.Listen("unix", path)
	return err
}

// REC9, TRC2: on a full disk, and in a home that is read-only, the command runs, with one warning;
// when there is room again the next line is whole, and what was reported as written is there.
func TestTraceWithoutRoom(t *testing.T) {
	const script = `
mount -t tmpfs -o size=64k,mode=0700 none "$HOME" || exit 99
pad=$(printf %05000d 0) # so that no line fits into what is left of a page
run() { echo "== $1"; "$PROGRAM" -c "echo out; exit 5 # $pad"; echo "status $?"; }
run room
head -c 1000000 /dev/zero > "$HOME/ballast" 2>/dev/null
run full; run full
rm "$HOME/ballast"
run again
mount -o remount,bind,ro "$HOME" || exit 99
run readonly
"$PROGRAM" trace list -n 0 | wc -l
`
	cmd := exec.Command("/bin/bash", "-c", script)
	home := t.TempDir()
	cmd.Env = append(cleanEnv(home), "PROGRAM="+program)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr.String())
	}
	const ran = "out\nstatus 5\n"
	want := "== room\n" + ran + "== full\n" + ran + "== full\n" + ran + "== again\n" + ran + "== readonly\n" + ran + "2\n"
	if string(out) != want {
		t.Errorf("got %s\nwant %s", out, want)
	}
	if warnings := strings.Count(stderr.String(), "warning: this command is not recorded: "); warnings != 3 {
		t.Errorf("%d warnings, want 3, one for each command without a record:\n%s", warnings, stderr.String())
	}
}
