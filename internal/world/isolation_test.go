package world

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

// The tests in isolation_*_test.go attack a world from inside. What needs system calls instead of a
// shell is done by the test binary itself, which runs in the world as a probe.

// probeEnv names the probe that a test binary in a world runs.
const probeEnv = "SUBSTRATE_TEST_PROBE"

// probes are what a test binary does in a world. Each line that it prints is a fact: "name: value".
var probes = map[string]func(fact func(name string, value any)){
	"powers":    probePowers,
	"processes": probeProcesses,
	"view":      probeView,
	"sockets":   probeSockets,
	"ipc":       probeIPC,
	"nested":    probeNested,
	"inner":     probeInner,
	"destroy":   probeDestroy,
	"traffic":   probeTraffic,
	"start":     probeStart,
	"keyring":   probeKeyring,
}

// TestIsolationProbe is not a test: it is the process that looks at a world from inside.
func TestIsolationProbe(*testing.T) {
	if probe := probes[os.Getenv(probeEnv)]; probe != nil {
		probe(func(name string, value any) { fmt.Printf("%s: %v\n", name, value) })
	}
}

// asRootAndUser runs body twice: as root in namespaces of its own, and as an ordinary user.
func asRootAndUser(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	t.Run("root", func(t *testing.T) { testenv.NeedRoot(t); testenv.InRoot(t, body) })
	t.Run("user", func(t *testing.T) { testenv.NeedUserns(t); testenv.AsUser(t, body) })
}

// byRank returns the answer that root gets, or that of an ordinary user.
func byRank[T any](root, user T) T {
	if os.Geteuid() == 0 {
		return root
	}
	return user
}

// arena is a directory of the host with what a test needs: dir/work is the working directory,
// dir/probe the test binary, which every user can execute.
type arena struct {
	t    *testing.T
	dir  string
	work string
	spec Spec
}

func newArena(t *testing.T) *arena {
	t.Helper()
	dir := testenv.TempDir(t)
	testenv.Leaks(t, dir+"/overlay", dir+"/run/worlds")
	a := &arena{t: t, dir: dir, work: dir + "/work", spec: testSpec(t, dir)}
	if err := os.Mkdir(a.work, 0o755); err != nil {
		t.Fatal(err)
	}
	a.spec.Cwd = a.work
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(dir+"/probe", os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return a
}

// write makes a file of the host.
func (a *arena) write(name, text string) string {
	a.t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		a.t.Fatal(err)
	}
	return name
}

// run runs cmd in a new world and returns what it printed. A standard output that is nil is
// captured.
func (a *arena) run(cmd Command, during ...func(*World)) (string, *Result) {
	a.t.Helper()
	w, err := New(a.spec)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() {
		if err := w.Close(); err != nil {
			a.t.Errorf("Close: %v", err)
		}
	}()
	out := make(chan string, 1)
	if cmd.Stdout == nil {
		r, wr, err := os.Pipe()
		if err != nil {
			a.t.Fatal(err)
		}
		go func() {
			defer r.Close()
			text := &strings.Builder{}
			lines := bufio.NewReader(r)
			for line, err := lines.ReadString('\n'); ; line, err = lines.ReadString('\n') {
				text.WriteString(line)
				if line == "ready\n" && len(during) > 0 {
					during[0](w)
				}
				if err != nil {
					break
				}
			}
			out <- text.String()
		}()
		cmd.Stdout = wr
		if cmd.Stderr == nil {
			cmd.Stderr = wr
		}
		defer wr.Close()
	} else {
		out <- ""
	}
	if cmd.Dir == "" {
		cmd.Dir = a.work
	}
	if cmd.Umask == 0 {
		cmd.Umask = 0o022
	}
	res, err := w.Run(cmd)
	if err != nil {
		a.t.Fatalf("Run: %v", err)
	}
	_ = cmd.Stdout.Close()
	select {
	case text := <-out:
		return text, res
	case <-time.After(10 * time.Second):
		a.t.Fatal("the output is still open 10 s after the end of the command")
		return "", nil
	}
}

// sh runs a script in a new world.
func (a *arena) sh(script string, args ...string) (string, *Result) {
	a.t.Helper()
	return a.run(Command{
		Path: "/bin/sh", Argv: append([]string{"sh", "-c", script, "sh"}, args...), Env: os.Environ(), Stderr: os.Stderr,
	})
}

// probe runs a probe in a new world, with additional environment, and returns its facts.
func (a *arena) probe(name string, env ...string) (map[string]string, *Result) {
	a.t.Helper()
	text, res := a.run(Command{
		Path: a.dir + "/probe", Argv: []string{"probe", "-test.run=^TestIsolationProbe$"},
		Env: append(append(os.Environ(), env...), probeEnv+"="+name, "ARENA="+a.dir),
	})
	if res.Exit != 0 {
		a.t.Fatalf("probe %s: exit status %d\n%s", name, res.Exit, text)
	}
	facts := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
			facts[k] = v
		}
	}
	return facts, res
}

// expect compares facts with the wanted ones; "a|b" allows either.
func expect(t *testing.T, facts, want map[string]string) {
	t.Helper()
	for name, value := range want {
		got, known := facts[name]
		ok := !known && value == ""
		for alternative := range strings.SplitSeq(value, "|") {
			ok = ok || known && got == alternative
		}
		if !ok {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
	if t.Failed() {
		t.Logf("all facts: %q", facts)
	}
}

// errno is the name of the error, "ok" without one.
func errno(err error) string {
	var e unix.Errno
	for inner := err; inner != nil; {
		if is, ok := inner.(unix.Errno); ok {
			e = is
			break
		}
		u, ok := inner.(interface{ Unwrap() error })
		if !ok {
			return err.Error()
		}
		inner = u.Unwrap()
	}
	if e == 0 {
		return "ok"
	}
	return unix.ErrnoName(e)
}

// opened tries to open a file and gives its error.
func opened(name string, flags int) string {
	fd, err := unix.Open(name, flags|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err == nil {
		_ = unix.Close(fd)
	}
	return errno(err)
}

// changedBelow lists the changes of dir and below.
func changedBelow(res *Result, dir string) []string {
	var out []string
	for _, e := range res.Diff.Entries {
		path := e.Path
		if !filepath.IsAbs(path) {
			path = filepath.Join(res.Diff.Root, path)
		}
		if path == dir || strings.HasPrefix(path, dir+"/") {
			out = append(out, string(e.Kind)+" "+path)
		}
	}
	return out
}
