package world

import (
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"substrate/internal/testenv"
	"substrate/internal/world/state"
)

// WLD8, WLD10: a gc that finds a directory before its maker has locked it neither removes it nor
// makes the maker give up.
func TestNewBesideGC(t *testing.T) {
	dir := t.TempDir()
	spec := testSpec(t, dir)
	stop := make(chan struct{})
	var gc sync.WaitGroup
	for range 2 {
		gc.Add(1)
		go func() {
			defer gc.Done()
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = state.GC(spec.Dirs, false)
				}
			}
		}()
	}
	for i := range 100 {
		spec.Name = "spn_" + strconv.Itoa(i)
		w, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		if w.Name != spec.Name {
			t.Errorf("name is %q, want %q", w.Name, spec.Name)
		}
		if _, err := os.Stat(filepath.Join(w.objects.dir, state.File)); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	gc.Wait()
}

// WLD6: a second world of the same name becomes _2, and the name is free again afterwards.
func TestNames(t *testing.T) {
	spec := testSpec(t, t.TempDir())
	var worlds []*World
	for _, want := range []string{spec.Name, spec.Name + "_2", spec.Name + "_3"} {
		w, err := New(spec)
		if err != nil {
			t.Fatal(err)
		}
		if w.Name != want {
			t.Errorf("name is %q, want %q", w.Name, want)
		}
		worlds = append(worlds, w)
	}
	if err := worlds[1].Close(); err != nil {
		t.Error(err)
	}
	if err := worlds[1].Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
	w, err := New(spec)
	if err != nil || w.Name != spec.Name+"_2" {
		t.Errorf("New after Close = %v, %v; want the free name", w, err)
	}
	for _, w := range append(worlds, w) {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// WLD6, WLD8: worlds of the same name in two run-time roots, as with and without XDG_RUNTIME_DIR,
// share neither a cgroup nor the name of a namespace, and one does not end the other.
func TestTwoRoots(t *testing.T) {
	testenv.NeedRoot(t)
	testenv.InRoot(t, func(t *testing.T) {
		first, second := testSpec(t, t.TempDir()), testSpec(t, t.TempDir())
		first.Name, second.Name = "spn_two_roots", "spn_two_roots"
		w, err := New(first)
		if err != nil {
			t.Fatal(err)
		}
		in, out := pipe(t), pipe(t)
		done := make(chan *Result, 1)
		go func() {
			res, err := w.Run(Command{Path: "/bin/sh", Argv: []string{"sh", "-c", "echo ready; read x; exit 7"}, Dir: "/", Stdin: in[0], Stdout: out[1]})
			if err != nil {
				t.Error(err)
				_ = out[1].Close()
			}
			done <- res
		}()
		if _, err := out[0].Read(make([]byte, 8)); err != nil {
			t.Fatalf("the first world: %v", err)
		}
		for range 2 {
			other, err := New(second)
			if err != nil {
				t.Fatal(err)
			}
			if other.Name != "spn_two_roots_2" {
				t.Errorf("the second world is called %q, want spn_two_roots_2", other.Name)
			}
			if err := other.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := in[1].WriteString("go\n"); err != nil {
			t.Error(err)
		}
		if res := <-done; res == nil || res.Exit != 7 {
			t.Errorf("the first world ended with %+v, want status 7", res)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func pipe(t *testing.T) [2]*os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return [2]*os.File{r, w}
}
