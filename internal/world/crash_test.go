package world

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/cgroup"
	"substrate/internal/world/state"
	"substrate/internal/world/view"
)

// The environment of a supervisor that is to die.
const (
	crashAt  = "SUBSTRATE_TEST_CRASH_AT"
	crashDir = "SUBSTRATE_TEST_CRASH_DIR"

	// crashCopy is the working directory of a world with copy-diff; not set for an overlay.
	crashCopy = "SUBSTRATE_TEST_CRASH_COPY"

	// crashStrategy is the strategy of the world; not set for the best one.
	crashStrategy = "SUBSTRATE_TEST_CRASH_STRATEGY"
)

// crashPoints are the moments at which a supervisor is killed: after each kind of object that
// world.json can name, and after those without a name.
func crashPoints(root bool) []string {
	points := []string{"started", state.KindState, "world.json", state.KindUpper, "process", "running"}
	if root {
		points = append(points, state.KindNetns)
		if _, err := cgroup.Mount(); err == nil {
			points = append(points, state.KindCgroup)
		}
	}
	return points
}

// TestCrashingSupervisor is not a test: it is the process that the crash tests kill.
func TestCrashingSupervisor(t *testing.T) {
	point := os.Getenv(crashAt)
	if point == "" {
		return
	}
	crashpoint = func(kind, _ string) {
		if kind == point {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	spec := testSpec(t, os.Getenv(crashDir))
	spec.Strategy = os.Getenv(crashStrategy)
	if cwd := os.Getenv(crashCopy); cwd != "" {
		spec.Cwd, spec.Strategy = cwd, view.CopyDiff
	}
	w, err := New(spec)
	if err != nil {
		t.Fatal(err)
	}
	const script = "echo x > /tmp/made-inside; echo ready; exec sleep 1000"
	r, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 16)
		if n, _ := r.Read(buf); n > 0 {
			crashpoint("running", "")
		}
	}()
	_, err = w.Run(Command{Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Dir: "/", Umask: 0o22, Stdout: wr})
	t.Fatalf("Run came back: %v", err)
}

// crash runs a supervisor in dir that dies at point.
func crash(t *testing.T, dir, point string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashingSupervisor$", "-test.v")
	cmd.Env = append(os.Environ(), crashAt+"="+point, crashDir+"="+dir)
	out, err := cmd.CombinedOutput()
	if ws := cmd.ProcessState.Sys().(interface{ Signaled() bool }); !ws.Signaled() {
		t.Fatalf("the supervisor did not reach %q: %v\n%s", point, err, out)
	}
}

// listDead lists the worlds of spec as soon as none is alive: the init process inherits the locks
// and holds them until the kernel's signal reaches it.
func listDead(spec Spec) ([]state.Listed, error) {
	list, err := state.List(spec.Dirs)
	for deadline := time.Now().Add(10 * time.Second); err == nil && len(list) == 1 && list[0].Alive && time.Now().Before(deadline); {
		runtime.Gosched()
		list, err = state.List(spec.Dirs)
	}
	return list, err
}

// WLD8: gc finds and removes everything that a killed supervisor had made, and nothing else.
func TestCrash(t *testing.T) {
	run := func(t *testing.T) {
		for _, point := range crashPoints(os.Geteuid() == 0) {
			t.Run(point, func(t *testing.T) { crashAndCollect(t, point) })
		}
	}
	t.Run("root", func(t *testing.T) { testenv.NeedRoot(t); testenv.InRoot(t, run) })
	t.Run("user", func(t *testing.T) { testenv.NeedUserns(t); testenv.AsUser(t, run) })
}

// WLD8, DIF7: gc removes a copy like an upper, also directories in it that the command closed. The
// original stays.
func TestCrashWithCopy(t *testing.T) {
	run := func(t *testing.T) {
		for _, point := range []string{state.KindUpper, "running"} {
			t.Run(point, func(t *testing.T) {
				cwd := filepath.Join(t.TempDir(), "cwd")
				must(t, os.MkdirAll(cwd+"/closed", 0o755))
				must(t, os.WriteFile(cwd+"/closed/f", []byte("data"), 0o600))
				must(t, os.Chmod(cwd+"/closed", 0))
				t.Setenv(crashCopy, cwd)
				crashAndCollect(t, point)
				must(t, os.Chmod(cwd+"/closed", 0o700))
				if got, err := os.ReadFile(cwd + "/closed/f"); err != nil || string(got) != "data" {
					t.Errorf("the original reads %q, %v", got, err)
				}
			})
		}
	}
	t.Run("root", func(t *testing.T) { testenv.NeedRoot(t); testenv.InRoot(t, run) })
	t.Run("user", func(t *testing.T) { testenv.NeedUserns(t); testenv.AsUser(t, run) })
}

func crashAndCollect(t *testing.T, point string) {
	dir := testenv.TempDir(t)
	testenv.Leaks(t, dir)
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := testSpec(t, dir)
	crash(t, dir, point)
	list, err := listDead(spec)
	if point == "started" { // before the world has a name
		if err != nil || len(list) != 0 {
			t.Errorf("List after a crash at %s = %+v, %v; want nothing", point, list, err)
		}
		must(t, errors.Join(os.RemoveAll(filepath.Join(dir, "run")), os.Remove(precious)))
		return
	}
	if err != nil || len(list) != 1 || list[0].Alive {
		t.Fatalf("List after a crash at %s = %+v, %v; want one dead world", point, list, err)
	}
	if dry, err := state.GC(spec.Dirs, true); err != nil || len(dry) != 1 || dry[0].Removed {
		t.Errorf("GC without doing = %+v, %v", dry, err)
	}
	gone, err := state.GC(spec.Dirs, false)
	if err != nil || len(gone) != 1 || !gone[0].Removed {
		t.Fatalf("GC after a crash at %s = %+v, %v; want it removed", point, gone, err)
	}
	if list, err := state.List(spec.Dirs); err != nil || len(list) != 0 {
		t.Errorf("List after GC = %+v, %v; want nothing", list, err)
	}
	for _, d := range append(spec.Dirs.Overlay, filepath.Join(spec.Dirs.Run[0], "worlds")) {
		if left, _ := os.ReadDir(d); len(left) > 0 {
			t.Errorf("%s still holds %v", d, left)
		}
	}
	if got, err := os.ReadFile(precious); err != nil || !bytes.Equal(got, []byte("data")) {
		t.Errorf("the user's file reads %q, %v", got, err)
	}
	for _, d := range []string{"run", "overlay"} {
		if err := os.RemoveAll(filepath.Join(dir, d)); err != nil {
			t.Error(err)
		}
	}
	_ = os.Remove(precious)
}

// A new world removes leftovers, also those of its own name.
func TestCrashThenNew(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.InRoot(t, func(t *testing.T) {
		dir := testenv.TempDir(t)
		crash(t, dir, state.KindUpper)
		spec := testSpec(t, dir)
		if _, err := listDead(spec); err != nil {
			t.Fatal(err)
		}
		w, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		if w.Name != spec.Name {
			t.Errorf("name is %q, want that of the dead world", w.Name)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// WLD9: removal does not reach into a mount or through a symlink, wherever somebody planted it.
func TestRemovalSparesMounts(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.InRoot(t, func(t *testing.T) {
		dir := testenv.TempDir(t)
		home := filepath.Join(dir, "home")
		file := filepath.Join(home, "a", "file")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
			t.Fatal(err)
		}
		spec := testSpec(t, dir)
		crash(t, dir, "running")
		if _, err := listDead(spec); err != nil {
			t.Fatal(err)
		}
		upper := filepath.Join(spec.Dirs.Overlay[0], spec.Name)
		inner := filepath.Join(upper, "planted", "deep")
		if err := os.MkdirAll(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(home, filepath.Join(upper, "planted", "link")); err != nil {
			t.Fatal(err)
		}
		points := []string{inner, filepath.Join(spec.Dirs.Run[0], "worlds", spec.Name, "planted")}
		if err := os.Mkdir(points[1], 0o700); err != nil {
			t.Fatal(err)
		}
		for _, at := range points {
			if err := unix.Mount(home, at, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
		}
		gone, err := state.GC(spec.Dirs, false)
		if err != nil || len(gone) != 1 || gone[0].Removed || !strings.Contains(gone[0].Error, "deep") {
			t.Errorf("GC with a mount in its way = %+v, %v; want an error that names it", gone, err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != "data" {
			t.Fatalf("the file below the mount reads %q, %v", got, err)
		}
		for _, at := range points {
			if err := unix.Unmount(at, 0); err != nil {
				t.Fatal(err)
			}
		}
		if gone, err := state.GC(spec.Dirs, false); err != nil || len(gone) != 1 || !gone[0].Removed {
			t.Errorf("GC after the mounts are gone = %+v, %v", gone, err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != "data" {
			t.Errorf("the file behind the symlink reads %q, %v", got, err)
		}
	})
}

// WLD8: a world that gets the first strategy it tries writes world.json once, before anything else
// is made.
func TestStateIsWrittenOnce(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		spec := testSpec(t, t.TempDir())
		var before os.FileInfo
		defer func(old func(kind, path string)) { crashpoint = old }(crashpoint)
		crashpoint = func(kind, path string) {
			if kind == "world.json" {
				before, _ = os.Stat(filepath.Join(path, state.File))
			}
		}
		w, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(filepath.Join(w.objects.dir, state.File))
		if err != nil || before == nil || !os.SameFile(before, after) {
			t.Errorf("the state was %v at first and is %v (%v), want the same file", before, after, err)
		}
		if s := state.Read(w.objects.dir); s.Strategy != w.attempt.strategy || s.Strategy == "" {
			t.Errorf("the state names strategy %q, want %q", s.Strategy, w.attempt.strategy)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}
