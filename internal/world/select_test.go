package world

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/probe"
	"substrate/internal/testenv"
	"substrate/internal/world/view"
)

// sh is a command of the shell.
func sh(script string) Command {
	return Command{Path: "/bin/sh", Argv: []string{"sh", "-c", script}, Env: os.Environ()}
}

// WLD3, RPL5, RPL9: direct runs on the host itself, says so before the command runs, and has no
// diff. Processes that the command leaves behind still end with it.
func TestDirect(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		a.spec.Strategy = "direct"
		var said []string
		a.spec.Warn = func(d Degradation) {
			if _, err := os.Stat(a.work + "/out"); err == nil {
				t.Error("the warning came after the command")
			}
			said = append(said, d.Message)
		}
		out, res := a.run(sh("pwd; echo x >out; trap '' TERM; sleep 1000 & exit 3"))
		const want = "no isolated file view available; running directly on the host, file changes are not tracked"
		if !slices.Equal(said, []string{want}) {
			t.Errorf("said %q", said)
		}
		if out != a.work+"\n" || res.Exit != 3 || res.Strategy != "direct" || res.Diff != nil || res.WorldID == "" {
			t.Errorf("output %q, status %d, strategy %q, diff %v", out, res.Exit, res.Strategy, res.Diff)
		}
		for _, name := range []string{"direct", "netns"} {
			if !slices.ContainsFunc(res.Degraded, func(d Degradation) bool { return d.Name == name && d.Asked }) {
				t.Errorf("no degradation %s in %v", name, res.Degraded)
			}
		}
		if _, err := os.Stat(a.work + "/out"); err != nil {
			t.Errorf("the command did not write to the host: %v", err)
		}
	})
}

// RPL5: a caller who requires a world never gets direct, neither by name nor as a fallback, and
// nothing is run.
func TestRequireWorld(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		a.spec.Require, a.spec.Strategy = true, "direct"
		w, err := New(a.spec)
		if !errors.Is(err, probe.ErrUnsupported) {
			t.Errorf("New = %v, %v, want an error", w, err)
		}
		a.spec.Strategy = ""
		all, err := candidates(&a.spec)
		if err != nil || slices.ContainsFunc(all, func(s view.Strategy) bool { return s.Name == "direct" }) {
			t.Errorf("candidates = %v, %v", all, err)
		}
	})
}

// RPL5: for a caller who requires a world, a copy under another path is refused where nothing keeps
// the command from the other files.
func TestRequireWithoutLandlock(t *testing.T) {
	for name, without := range map[string]bool{"with": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			testenv.In(t, testenv.Host{User: true, WithoutUserns: true, WithoutLandlock: without}, func(t *testing.T) {
				spec := inPlaceSpec(t)
				spec.Strategy, spec.Require = "", true
				file := filepath.Join(filepath.Dir(spec.Cwd), "outside")
				w, err := New(spec)
				if err == nil {
					cmd := sh("echo ran >" + file)
					cmd.Dir = spec.Cwd
					_, err = w.Run(cmd)
					must(t, w.Close())
				}
				if refused := err != nil && strings.Contains(err.Error(), "restrict the command to the copy"); refused != without {
					t.Errorf("without Landlock %v: %v", without, err)
				}
				if _, err := os.Stat(file); err == nil {
					t.Error("the command wrote to the host")
				}
			})
		})
	}
}

// WLD3: if a strategy fails at the real mount, the next one is tried. Here the tmpfs of the uppers
// is refused.
func TestFallBack(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		a.spec.Upper = "tmpfs:nonsense"
		var steps []string
		a.spec.Observe = func(s Step) { steps = append(steps, s.Name+": "+s.Detail) }
		out, res := a.run(sh("echo ran"))
		if out != "ran\n" || res.Exit != 0 || res.Strategy == "overlay" {
			t.Fatalf("output %q, status %d, strategy %s", out, res.Exit, res.Strategy)
		}
		if len(res.Fallbacks) == 0 || !strings.HasPrefix(res.Fallbacks[0], "overlay: set up the world: upper: ") {
			t.Errorf("fallbacks = %q", res.Fallbacks)
		}
		lines := strings.Join(steps, "\n")
		for _, want := range []string{"strategy: overlay\n", "overlay: set up the world: upper: invalid argument; trying ", "strategy: " + res.Strategy} {
			if !strings.Contains(lines, want) {
				t.Errorf("no line %q in:\n%s", want, lines)
			}
		}
	})
}

// WLD3: a caller who asks for one strategy gets it, or the reason why not.
func TestAskedStrategy(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		a.spec.Strategy, a.spec.Upper = "overlay", "tmpfs:nonsense"
		w, err := New(a.spec)
		must(t, err)
		defer w.Close()
		if res, err := w.Run(sh("echo ran >ran")); !errors.Is(err, probe.ErrUnsupported) {
			t.Errorf("Run = %v, %v, want the reason", res, err)
		}
		a.spec.Strategy = "no-such"
		if w, err := New(a.spec); err == nil || !strings.Contains(err.Error(), "want one of overlay, ") {
			t.Errorf("New = %v, %v", w, err)
		}
	})
}

// WLD3, DIF7: a tree that does not fit, or a lack of something that may pass, is no reason to run
// on the host itself.
func TestNotDirectInstead(t *testing.T) {
	testenv.In(t, testenv.Host{User: true, WithoutUserns: true}, func(t *testing.T) {
		tests := []struct {
			name string
			bend func(*Spec)
			want string
		}{
			{"limit", func(s *Spec) { s.CopyMax = 1 }, "keep to --copy-max"},
			{"holds its scratch", func(s *Spec) { s.Cwd = filepath.Dir(s.Cwd) }, "it contains the directory"},
			{"unreadable", func(s *Spec) { must(t, os.Chmod(s.Cwd, 0o300)) }, "permission denied"},
		}
		for _, tt := range tests {
			spec := inPlaceSpec(t)
			spec.Strategy = ""
			file := filepath.Join(spec.Cwd, "f")
			must(t, os.WriteFile(file, []byte("before"), 0o600))
			tt.bend(&spec)
			w, err := New(spec)
			if err == nil {
				_, err = w.Run(sh("echo ran >" + file))
				must(t, w.Close())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
			must(t, os.Chmod(filepath.Dir(file), 0o700))
			if text, err := os.ReadFile(file); string(text) != "before" {
				t.Errorf("%s: the file of the host holds %q, %v", tt.name, text, err)
			}
		}
	})
}

// WLD3: a failure that may pass is not recorded, and never makes the host itself the next choice.
func TestPassing(t *testing.T) {
	for _, err := range []error{unix.ENOSPC, unix.EMFILE, unix.EAGAIN, &view.NotCopied{Err: unix.EACCES}} {
		if ofHost(&probe.Error{What: "x", Err: err}) {
			t.Errorf("%v counts as the host's", err)
		}
	}
	for _, err := range []error{unix.EPERM, &setupError{err: &probe.Error{What: "make a user namespace", Err: unix.ENOSPC}}} {
		if !ofHost(err) {
			t.Errorf("%v does not count as the host's", err)
		}
	}
	w := newWorld(Spec{}, view.Strategies(), nil)
	run := t.TempDir()
	saveFailures(run, &w.spec, []Rejected{{Strategy: "overlay"}, {Strategy: "fuse"}, {Strategy: "copy-diff"}}, nil)
	w.skip(loadFailures(run, &w.spec, w.selection.candidates))
	if got := w.selection.candidates[0].Name; got != "copy-diff" {
		t.Errorf("the next choice is %s, want copy-diff", got)
	}
}

// RPL10: a signal that comes before Run is not lost: the command is not run.
func TestSignalBeforeRun(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		for _, strategy := range []string{"", "copy-diff", "direct"} {
			a := newArena(t)
			a.spec.Strategy = strategy
			w, err := New(a.spec)
			must(t, err)
			must(t, w.Signal(unix.SIGTERM))
			res, err := w.Run(sh("echo ran >" + a.work + "/ran"))
			var stopped *Interrupted
			if !errors.As(err, &stopped) || stopped.Signal != unix.SIGTERM {
				t.Errorf("%s: Run = %+v, %v, want Interrupted", strategy, res, err)
			}
			must(t, w.Close())
			if _, err := os.Stat(a.work + "/ran"); err == nil {
				t.Errorf("%s: the command ran", strategy)
			}
		}
	})
}

// RPL10: the same holds for a signal to the process itself, also if os/signal already has it
// because New had to wait.
func TestSignalToProcessBeforeRun(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		for _, strategy := range []string{"", "direct", "host"} {
			a := newArena(t)
			signals, release := CatchSignals()
			a.spec.Signals, a.spec.Strategy = signals, strings.TrimPrefix(strategy, "host")
			run := func(cmd Command) (*Result, error) { return RunHost(cmd, a.spec.Signals) }
			if strategy != "host" {
				w, err := New(a.spec)
				must(t, err)
				defer w.Close()
				run = w.Run
			}
			queue := a.spec.Signals.wait()
			must(t, unix.Kill(os.Getpid(), unix.SIGTERM))
			for len(queue) == 0 {
				time.Sleep(time.Millisecond)
			}
			cmd := sh("sleep 10")
			cmd.Dir = a.work
			res, err := run(cmd)
			var stopped *Interrupted
			if !errors.As(err, &stopped) || stopped.Signal != unix.SIGTERM {
				t.Errorf("%s: Run = %+v, %v, want Interrupted", strategy, res, err)
			}
			release()
		}
	})
}

// WLD3: failures that a confined process recorded do not count for others.
func TestFailuresOfConfined(t *testing.T) {
	testenv.In(t, testenv.Host{User: true, WithoutUserns: true}, func(t *testing.T) {
		if !strings.Contains(hostKey(false, nil), "Seccomp:\t2\n") {
			t.Errorf("the key does not tell a filter: %s", hostKey(false, nil))
		}
	})
}

// WLD3: if a copy cannot be mounted after all, it is tried under its own path before anything
// weaker.
func TestFallBackInPlace(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		a.spec.Strategy = "copy-diff"
		w, err := New(a.spec)
		must(t, err)
		must(t, os.Remove(w.shared.Staging))
		cmd := sh("echo x >f")
		cmd.Dir = a.work
		res, err := w.Run(cmd)
		must(t, errors.Join(err, w.Close()))
		if got := lines(res.Diff); !slices.Equal(got, []string{"+ f"}) || res.Strategy != "copy-diff" || len(res.Fallbacks) != 1 {
			t.Errorf("changes %q, strategy %s, %q", got, res.Strategy, res.Fallbacks)
		}
		if _, err := os.Stat(a.work + "/f"); err == nil {
			t.Error("the command wrote to the host")
		}
	})
}

// WLD1: the world names a working directory that it makes new, since no change in it is listed.
func TestWorkingDirectoryMadeNew(t *testing.T) {
	asRootAndUser(t, func(t *testing.T) {
		a := newArena(t)
		a.spec.Cwd, a.spec.Strategy = "/dev/shm", "overlay"
		cmd := sh("echo x >f; ls")
		cmd.Dir = "/dev/shm"
		out, res := a.run(cmd)
		named := slices.ContainsFunc(res.Degraded, func(d Degradation) bool { return strings.Contains(d.Message, "/dev/shm is new in the world") })
		if out != "f\n" || len(res.Diff.Entries) > 0 || !named {
			t.Errorf("printed %q, changes %q, degradations %v", out, lines(res.Diff), res.Degraded)
		}
	})
}
