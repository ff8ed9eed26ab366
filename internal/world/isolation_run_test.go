package world

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/state"
)

// WLD4: the command gets exactly what the caller asked for.
func TestIsolationStart(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		deep := a.work + "/a b\n/é"
		must(t, os.MkdirAll(deep, 0o755))
		var lim unix.Rlimit
		must(t, unix.Getrlimit(unix.RLIMIT_STACK, &lim))
		lim.Cur = 7 << 20
		must(t, unix.Setrlimit(unix.RLIMIT_STACK, &lim))
		env := []string{probeEnv + "=start", "B=1", "A=two words", "EMPTY=", "NEWLINE=x\ny", "B=2", "odd"}
		text, res := a.run(Command{
			Path: a.dir + "/probe", Argv: []string{"arg zero", "-test.run=^TestIsolationProbe$"}, Dir: deep, Env: env, Umask: 0o137,
		})
		for _, want := range []string{
			fmt.Sprintf("env: %q\n", env), fmt.Sprintf("cwd: %q\n", deep), "umask: 137\n", fmt.Sprintf("stack: %d\n", 7<<20),
			"argv: \"arg zero\"\n", "SigBlk: 0000000000000000\n", "SigIgn: " + ownStatus("SigIgn") + "\n", "stdin: /dev/null\n", "tty: none\n",
			fmt.Sprintf("uid: %d %d\n", os.Getuid(), os.Geteuid()), fmt.Sprintf("gid: %d %d\n", os.Getgid(), os.Getegid()),
		} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
		if res.Exit != 0 {
			t.Errorf("exit status %d", res.Exit)
		}
	})
}

// ownStatus is a field of this process's own status. A signal that was ignored when the test was
// started, such as 32 by make, is ignored in the world as well.
func ownStatus(field string) string {
	for line := range strings.Lines(readText("/proc/self/status")) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "no " + field
}

func probeStart(fact func(string, any)) {
	env := strings.Split(strings.TrimSuffix(readText("/proc/self/environ"), "\x00"), "\x00")
	fact("env", fmt.Sprintf("%q", env))
	cwd, _ := os.Readlink("/proc/self/cwd")
	fact("cwd", fmt.Sprintf("%q", cwd))
	fact("umask", fmt.Sprintf("%o", unix.Umask(0)))
	var lim unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_STACK, &lim)
	fact("stack", lim.Cur)
	fact("argv", fmt.Sprintf("%q", os.Args[0]))
	fact("uid", fmt.Sprint(os.Getuid(), " ", os.Geteuid()))
	fact("gid", fmt.Sprint(os.Getgid(), " ", os.Getegid()))
	stdin, _ := os.Readlink("/proc/self/fd/0")
	fact("stdin", stdin)
	if opened("/dev/tty", unix.O_RDWR) == "ENXIO" {
		fact("tty", "none")
	}
	out, err := exec.Command("/bin/grep", "^Sig[BI]", "/proc/self/status").Output()
	fact("signals", err)
	fmt.Print(strings.ReplaceAll(string(out), "\t", " "))
}

// REC4: every exit status, every signal, and a command that cannot be started.
func TestIsolationStatus(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		for _, want := range []int{0, 1, 2, 3, 63, 64, 100, 123, 124, 125, 126, 127, 128, 129, 137, 143, 192, 254, 255} {
			if _, res := a.sh("exit " + strconv.Itoa(want)); res.Exit != want || res.Signal != 0 {
				t.Errorf("exit %d: status %d, signal %d", want, res.Exit, res.Signal)
			}
		}
		for sig := 1; sig <= 64; sig++ {
			switch unix.Signal(sig) {
			case unix.SIGCHLD, unix.SIGCONT, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGURG, unix.SIGWINCH, 32, 33:
				continue // do not kill, or belong to libc
			}
			if sig > 31 && sig < 64 && sig%6 != 0 {
				continue // real-time signals are all alike
			}
			if _, res := a.sh("ulimit -c 0; kill -" + strconv.Itoa(sig) + " $$; sleep 10"); res.Exit != 128+sig || res.Signal != sig {
				t.Errorf("signal %d: status %d, signal %d", sig, res.Exit, res.Signal)
			}
		}
		a.write(a.work+"/data", "text")
		must(t, os.Chmod(a.work+"/data", 0o644))
		for path, want := range map[string]int{"./data": 126, a.work: 126, "./none": 127, "none-such-program": 127, "./data/x": 127, "": 127} {
			w, err := New(a.spec)
			must(t, err)
			res, err := w.Run(Command{Path: path, Argv: []string{path}, Dir: a.work, Env: []string{"PATH=" + a.work + ":/nowhere"}})
			if err != nil || res.Exit != want || res.ExecErr == nil {
				t.Errorf("execute %q: %+v, %v; want status %d", path, res, err, want)
			}
			must(t, w.Close())
		}
	})
}

// CGR3, WLD5: after the command has ended, no process of its world runs or holds its output. No
// zombies stay while it runs.
func TestIsolationEnd(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		for name, script := range map[string]string{
			"background":   "sleep 1000 & setsid sleep 1000 & (setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000; sleep 1000' &); exit 5",
			"daemons":      "i=0; while [ $i -lt 200 ]; do (setsid sleep 1000 >/dev/null 2>&1 &); i=$((i+1)); done; exit 5",
			"fork bomb":    "n=0; f() { [ $1 -gt 6 ] && exec sleep 1000; f $(($1+1)) & f $(($1+1)) & wait; }; f 0 & sleep 0.2; exit 5",
			"stopped":      "sleep 1000 & kill -STOP $!; exit 5",
			"ptraced":      "sleep 1000 & p=$!; (strace -p $p >/dev/null 2>&1 &); exit 5",
			"own children": "exec 3>&1; (sleep 1000 3>&1 &); exit 5",
		} {
			begin := time.Now()
			if out, res := a.sh(script); res.Exit != 5 || out != "" {
				t.Errorf("%s: status %d, %q", name, res.Exit, out)
			}
			// Whoever waits for one of them waits 1,000 s. A busy machine starts 200 slowly.
			if d := time.Since(begin); d > time.Minute {
				t.Errorf("%s: ended after %s", name, d)
			}
		}
		out, res := a.sh(`i=0; while [ $i -lt 30 ]; do (true & true &) ; i=$((i+1)); done
i=0; while [ $i -lt 500 ]; do z=$(cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z 1 '); [ $z -eq 0 ] && break; sleep 0.01; i=$((i+1)); done; echo zombies: $z`)
		if out != "zombies: 0\n" {
			t.Errorf("orphans: %q, status %d", out, res.Exit)
		}
		// A command may kill all its own processes, but never the world's init process.
		if out, res = a.sh("sleep 1000 & trap '' TERM; kill -TERM -1; wait; echo alive; sh -c 'kill -KILL -1; :'; echo not reached"); !strings.HasSuffix(out, "alive\n") || res.Signal != int(unix.SIGKILL) {
			t.Errorf("kill -1: %q, status %d", out, res.Exit)
		}
	})
}

// RPL10: signals to the supervisor reach the command's process group and nothing else.
func TestIsolationSignal(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGQUIT} {
			script := fmt.Sprintf(`trap 'echo got; exit 7' %d; echo ready; while :; do sleep 0.01; done`, sig)
			out, res := a.run(Command{Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Env: os.Environ()}, func(w *World) { _ = w.Signal(sig) })
			if res.Exit != 7 || !strings.HasSuffix(out, "got\n") {
				t.Errorf("%v, trapped: status %d, %q", sig, res.Exit, out)
			}
			_, res = a.run(Command{Path: "/bin/sh", Argv: []string{"sh", "-c", "ulimit -c 0; echo ready; exec sleep 1000"}, Env: os.Environ()}, func(w *World) { _ = w.Signal(sig) })
			if res.Signal != int(sig) || res.Exit != 128+int(sig) {
				t.Errorf("%v: status %d, signal %d", sig, res.Exit, res.Signal)
			}
		}
		// SIGKILL to the init process ends everything.
		w, err := New(a.spec)
		must(t, err)
		var once sync.Once
		r, wr, err := os.Pipe()
		must(t, err)
		go func() { _, _ = r.Read(make([]byte, 8)); once.Do(func() { _ = w.Signal(unix.SIGKILL) }) }()
		_, err = w.Run(Command{Path: "/bin/sh", Argv: []string{"sh", "-c", "setsid sleep 1000 & echo ready; sleep 1000"}, Dir: "/", Env: os.Environ(), Stdout: wr})
		if err == nil {
			t.Error("no error after the init process was killed")
		}
		must(t, w.Close())
		_, _ = r.Close(), wr.Close()
	})
}

// RPL10: a timeout sends SIGTERM to every process and, after a grace, SIGKILL. It counts from the
// start of the command. The second here gives the shell time to print.
func TestIsolationTimeout(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		for _, test := range []struct {
			script, out string
			min, max    time.Duration
		}{
			{"echo begun; exec sleep 1000", "begun\n", time.Second, time.Minute},
			{"setsid sh -c 'trap \"echo told; exit\" TERM; while :; do sleep 0.01; done' & trap 'wait; exit' TERM; wait; wait", "told\n", time.Second, time.Minute},
			{"trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' & while :; do sleep 1000; done", "", 1300 * time.Millisecond, time.Minute},
		} {
			out, res := a.run(Command{
				Path: "/bin/sh", Argv: []string{"sh", "-c", test.script}, Env: os.Environ(), Timeout: time.Second, Grace: 300 * time.Millisecond,
			})
			if !res.TimedOut || res.Exit != 124 || !strings.HasSuffix(out, test.out) || res.Duration < test.min || res.Duration > test.max || res.Diff == nil {
				t.Errorf("%s: timed out %v, status %d, %q, after %s", test.script, res.TimedOut, res.Exit, out, res.Duration)
			}
		}
	})
}

// supervisorDir is the environment variable that makes TestIsolationSupervisor a supervisor.
const supervisorDir = "SUBSTRATE_TEST_SUPERVISOR_DIR"

// TestIsolationSupervisor is not a test: it is a supervisor that gets killed.
func TestIsolationSupervisor(t *testing.T) {
	dir := os.Getenv(supervisorDir)
	if dir == "" {
		return
	}
	w, err := New(testSpec(t, dir))
	must(t, err)
	const script = "trap '' TERM HUP INT; (setsid sh -c 'trap \"\" TERM HUP; sleep 1000; sleep 1000' &); i=0; while [ $i -lt 20 ]; do sleep 1000 & i=$((i+1)); done; echo ready; while :; do sleep 1000; done"
	_, _ = w.Run(Command{Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Dir: "/", Env: os.Environ(), Stdout: os.Stdout})
}

// WLD5: every process of the world dies with the supervisor; testenv.Leaks would find one that did
// not.
func TestIsolationOrphanedWorld(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestIsolationSupervisor$")
		cmd.Env = append(os.Environ(), supervisorDir+"="+a.dir)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		text := ""
		for buf := make([]byte, 64); !strings.Contains(text, "ready"); {
			n, err := out.Read(buf)
			text += string(buf[:n])
			must(t, err)
		}
		must(t, cmd.Process.Kill())
		// The world holds the pipe: it reads as ended once the last process is dead.
		dead := make(chan error, 1)
		go func() {
			buf := make([]byte, 64)
			for {
				if _, err := out.Read(buf); err != nil {
					dead <- err
					return
				}
			}
		}()
		select {
		case <-dead:
		case <-time.After(10 * time.Second):
			t.Error("a process of the world outlived its supervisor by 10 s")
		}
		_ = cmd.Wait()
		if _, err := state.GC(a.spec.Dirs, false); err != nil {
			t.Error(err)
		}
	})
}

// WLD4: a command with a terminal gets a PTY of the world, of the size of the caller's.
func TestIsolationTerminal(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		ours, theirs, err := pty.Open()
		must(t, err)
		must(t, pty.Setsize(ours, &pty.Winsize{Rows: 33, Cols: 77}))
		var mu sync.Mutex
		seen := ""
		grown := make(chan struct{}, 1000)
		go func() {
			buf := make([]byte, 4096)
			for {
				n, err := ours.Read(buf)
				mu.Lock()
				seen += string(buf[:n])
				mu.Unlock()
				grown <- struct{}{}
				if err != nil {
					return
				}
			}
		}()
		await := func(what string) {
			t.Helper()
			for deadline := time.After(10 * time.Second); ; {
				mu.Lock()
				found := strings.Contains(seen, what)
				mu.Unlock()
				if found {
					return
				}
				select {
				case <-grown:
				case <-deadline:
					t.Fatalf("no %q in the output of the terminal: %q", what, seen)
				}
			}
		}
		w, err := New(a.spec)
		must(t, err)
		script := `tty; stty size; ls /dev/pts | tr '\n' ' '; echo; exec 3</dev/tty && echo has-tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all-tty
ps -o sid=,tpgid= -p $$ | tr -d '\n'; echo " of $$"; trap 'stty size; echo resized' WINCH; echo ready; read line; echo "read <$line>"; while :; do sleep 0.01; done`
		type ended struct {
			res *Result
			err error
		}
		done := make(chan ended, 1)
		go func() {
			res, err := w.Run(Command{Path: "/bin/bash", Argv: []string{"bash", "-c", script}, Dir: "/", Env: os.Environ(), Stdin: theirs, Stdout: theirs, Stderr: theirs, TTY: true})
			done <- ended{res, err}
		}()
		await("ready")
		for _, want := range []string{"/dev/pts/0\r\n", "33 77\r\n", "0 ptmx \r\n", "has-tty", "all-tty", "2       2 of 2"} {
			if !strings.Contains(seen, want) {
				t.Errorf("no %q in %q", want, seen)
			}
		}
		_, err = ours.WriteString("some words\r")
		must(t, err)
		await("read <some words>")
		must(t, pty.Setsize(ours, &pty.Winsize{Rows: 44, Cols: 99}))
		must(t, unix.Kill(os.Getpid(), unix.SIGWINCH)) // the terminal is not ours, so the kernel tells us nothing
		await("44 99\r\nresized")
		_, err = ours.Write([]byte{3}) // ^C
		must(t, err)
		end := <-done
		if end.err != nil || end.res.Signal != int(unix.SIGINT) {
			t.Errorf("after ^C: %+v, %v", end.res, end.err)
		}
		must(t, w.Close())
		// The copying of keys ends with the next key, and only then are the descriptors closed.
		must(t, theirs.Close())
		_, _ = ours.WriteString("\r")
		_ = ours.Close()
	})
}

// WLD6, CGR3: the world's processes are in its cgroup from the beginning. The cgroup is removed
// with the world.
func TestIsolationCgroup(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.InRoot(t, func(t *testing.T) {
		a := newArena(t)
		var inside []string
		out, _ := a.run(Command{Path: "/bin/sh", Argv: []string{"sh", "-c", "cat /proc/self/cgroup; sleep 1000 & echo ready; exit 0"}, Env: os.Environ()}, func(w *World) {
			if w.group != nil {
				inside = append(inside, w.group.Path)
			}
		})
		if len(inside) == 0 {
			testenv.Skip(t, "needs a cgroup2 file system")
		}
		if !slices.ContainsFunc(strings.Split(out, "\n"), func(line string) bool {
			path, ok := strings.CutPrefix(line, "0::")
			return ok && path != "" && strings.HasSuffix(inside[0], path) && strings.Contains(path, filepath.Base(inside[0]))
		}) {
			t.Errorf("the command ran in %q, not in %s", out, inside[0])
		}
		if _, err := os.Lstat(inside[0]); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", inside[0], err)
		}
	})
}
