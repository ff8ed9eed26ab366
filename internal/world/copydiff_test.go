package world

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/testenv"
	"substrate/internal/world/cgroup"
)

// found is the outcome of a world on some host.
type found struct {
	strategy string
	inPlace  bool // the command had another working directory
	landlock bool // a write outside was refused
	degraded []string
	reasons  []string
}

// alterCopy changes the working directory in several ways, prints where it is, and tries to write
// outside, at $1.
const alterCopy = `printf '%s\n' "$PWD"
	echo again >>/dev/stdout
	echo more >>append; echo same >same; rm -r gone; mkdir -p new/d; echo x >new/d/f; chmod 600 mode; ln -sf other link
	echo scratch >"${TMPDIR:-/tmp}/scratch-$$" && rm "${TMPDIR:-/tmp}/scratch-$$"
	(echo host >"$1/outside") 2>/dev/null; (echo host >>"$1/precious") 2>/dev/null; true`

// altered is the list of these changes.
var alteredCopy = []string{"~ append", "- gone", "- gone/f", "~ link", "~ mode", "+ new", "+ new/d", "+ new/d/f", "~ same"}

// worldHere makes a world with the given strategy, or with the host's choice for "", runs alterCopy
// in it, and checks that the list is right and that the host did not change.
func worldHere(t *testing.T, strategy, overlays string) found {
	t.Helper()
	base := t.TempDir()
	if overlays == "" {
		overlays = base
	}
	testenv.Leaks(t, overlays+"/substrate/overlay", base+"/substrate/run/worlds")
	cwd, home := filepath.Join(base, "cwd"), filepath.Join(base, "home")
	for _, dir := range []string{cwd + "/gone", home} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	for _, name := range []string{"cwd/append", "cwd/same", "cwd/gone/f", "cwd/mode", "home/precious"} {
		must(t, os.WriteFile(filepath.Join(base, name), []byte("same\n"), 0o644))
	}
	must(t, os.Symlink("target", cwd+"/link"))
	spec := Spec{
		Name: "spn_host", Cwd: cwd, Strategy: strategy, Root: isRoot(t), Likely: []string{home},
		Dirs: Dirs{Run: []string{base + "/substrate/run"}, Overlay: []string{overlays + "/substrate/overlay"}},
	}
	res, where := runIn(t, spec, home)
	if res.Exit != 0 {
		t.Errorf("status %d", res.Exit)
	}
	f := found{strategy: res.Strategy, inPlace: where != cwd, reasons: res.Fallbacks}
	for _, d := range res.Degraded {
		f.degraded = append(f.degraded, d.Message)
	}
	_, err := os.Stat(home + "/outside")
	f.landlock = f.inPlace && err != nil
	if text, _ := os.ReadFile(cwd + "/append"); string(text) != "same\n" {
		t.Errorf("the host's file is changed: %q", text)
	}
	if diff := cmp.Diff(alteredCopy, within(linesOf(res.Diff), home)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", res.Strategy, diff)
	}
	return f
}

// within leaves out what lies below dir, which only a world of the whole machine lists.
func within(lines []string, dir string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line[2:], dir) })
}

func linesOf(d *fsdiff.Diff) []string {
	var lines []string
	if d == nil {
		return nil
	}
	for i := range d.Entries {
		lines = append(lines, fsdiff.Line(&d.Entries[i])[2:])
	}
	return lines
}

// runIn makes the world and returns its outcome and the working directory that the command saw.
func runIn(t *testing.T, spec Spec, home string) (*Result, string) {
	t.Helper()
	w, err := New(spec)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	defer func() { must(t, w.Close()) }()
	// A file, as with the output of replay --json: it can be opened again by its name in /dev,
	// wherever it lies.
	out, err := os.CreateTemp(t.TempDir(), "out")
	must(t, err)
	res, err := w.Run(Command{
		Path: "/bin/bash", Argv: []string{"bash", "-c", alterCopy, "bash", home}, Dir: spec.Cwd,
		Env: []string{"PATH=/usr/bin:/bin", "HOME=" + home, "LC_ALL=C"}, Umask: 0o022, Stdout: out, Stderr: os.Stderr,
	})
	must(t, out.Close())
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	text, err := os.ReadFile(out.Name())
	must(t, err)
	where, rest, _ := strings.Cut(string(text), "\n")
	if rest != "again\n" {
		t.Errorf("printed %q", text)
	}
	return res, where
}

// isRoot reports whether this process has a root's capabilities.
func isRoot(t *testing.T) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	return os.Geteuid() == 0 && !strings.Contains(string(status), "CapEff:\t0000000000000000\n")
}

// DIF7, DIF8, WLD3: the strategy on hosts that lack something. The list of changes is exact each
// time, and nothing stays behind.
func TestChoiceOnHosts(t *testing.T) {
	tests := []struct {
		name     string
		host     testenv.Host
		want     found
		degraded string // a part of one message
	}{
		{"container", testenv.Host{Overlays: 1, WithoutFuse: true}, found{strategy: "overlay"}, "no disk can hold the changes"},
		{"container in a container", testenv.Host{Overlays: 2, WithoutFuse: true}, found{strategy: "copy-diff"}, "using copy-diff"},
		{"container in a container, with fuse", testenv.Host{Overlays: 2}, found{strategy: "fuse"}, ""},
		{"no mounts", testenv.Host{WithoutMounts: true, WithoutFuse: true}, found{strategy: "copy-diff", inPlace: true, landlock: true}, "modes, owners"},
		{"no mounts, no Landlock", testenv.Host{WithoutMounts: true, WithoutLandlock: true, WithoutFuse: true}, found{strategy: "copy-diff", inPlace: true}, "Landlock is unavailable"},
		{"no capabilities, no user namespaces", testenv.Host{WithoutCapabilities: true, WithoutUserns: true, WithoutFuse: true}, found{strategy: "copy-diff", inPlace: true, landlock: true}, "another path"},
		// Uid 0 cannot be mapped into a user namespace without CAP_SETFCAP; see user_namespaces(7).
		{"no capabilities", testenv.Host{WithoutCapabilities: true, WithoutFuse: true}, found{strategy: "copy-diff", inPlace: true, landlock: true}, "another path"},
		{"full /tmp", testenv.Host{FullTmp: true, WithoutFuse: true}, found{strategy: "overlay"}, ""},
		{"full /tmp in a container in a container", testenv.Host{FullTmp: true, Overlays: 2, WithoutFuse: true}, found{strategy: "copy-diff"}, "using copy-diff"},
		{"user without user namespaces", testenv.Host{User: true, WithoutUserns: true}, found{strategy: "copy-diff", inPlace: true, landlock: true}, "another path"},
		{"user without user namespaces and Landlock", testenv.Host{User: true, WithoutUserns: true, WithoutLandlock: true}, found{strategy: "copy-diff", inPlace: true}, "Landlock is unavailable"},
		{"user in a container in a container", testenv.Host{User: true, Overlays: 2, WithoutFuse: true}, found{strategy: "copy-diff"}, "using copy-diff"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			testenv.In(t, tt.host, func(t *testing.T) {
				got := worldHere(t, "", "")
				if got.strategy != tt.want.strategy || got.inPlace != tt.want.inPlace || got.landlock != tt.want.landlock {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
				if tt.degraded != "" && !slices.ContainsFunc(got.degraded, func(s string) bool { return strings.Contains(s, tt.degraded) }) {
					t.Errorf("degradations %q, want one with %q", got.degraded, tt.degraded)
				}
				if want := got.strategy != "overlay"; want != (len(got.reasons) > 0) {
					t.Errorf("reasons %q", got.reasons)
				}
			})
		})
	}
}

// DIF7, DIF8: both strategies on common file systems.
func TestStrategiesOnFileSystems(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs", "tmpfs"} {
		for _, strategy := range []string{"overlay", "copy-diff"} {
			t.Run(fs+" "+strategy, func(t *testing.T) {
				testenv.InRoot(t, func(t *testing.T) {
					dir := testenv.TempDir(t)
					if fs != "tmpfs" {
						dir = testenv.Image(t, fs)
					} else {
						must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"))
					}
					t.Setenv("TMPDIR", dir)
					if got := worldHere(t, strategy, dir); got.strategy != strategy || got.inPlace {
						t.Errorf("got %+v", got)
					}
				})
			})
		}
	}
}

// inPlaceSpec is a world whose command runs in a copy under another path.
func inPlaceSpec(t *testing.T) Spec {
	t.Helper()
	base := t.TempDir()
	cwd := filepath.Join(base, "cwd")
	must(t, os.Mkdir(cwd, 0o755))
	testenv.Leaks(t, base+"/substrate/overlay", base+"/substrate/run/worlds")
	return Spec{Name: "spn_place", Cwd: cwd, Strategy: "copy-diff", Dirs: Dirs{Run: []string{base + "/substrate/run"}, Overlay: []string{base + "/substrate/overlay"}}}
}

// RPL10, DIF7: without a pid namespace, everything that the command started ends with it, also
// after a timeout.
func TestCopyInPlaceEndsAll(t *testing.T) {
	testenv.In(t, testenv.Host{User: true, WithoutUserns: true}, func(t *testing.T) {
		tests := []struct {
			script  string
			timeout time.Duration
			exit    int
			lines   []string
		}{
			{"sleep 1000 & setsid sleep 1000 & (setsid sleep 1000 &) ; echo x >f; exit 3", 0, 3, []string{"+ f"}},
			{"echo x >f; chmod 0 ..", 0, 0, []string{"+ f"}},
			{"trap '' TERM; setsid sleep 1000 & echo x >f; sleep 1000; sleep 1000", 500 * time.Millisecond, 124, []string{"+ f"}},
		}
		for _, tt := range tests {
			w, err := New(inPlaceSpec(t))
			must(t, err)
			res, err := w.Run(Command{
				Path: "/bin/bash", Argv: []string{"bash", "-c", tt.script}, Dir: w.spec.Cwd, Env: []string{"PATH=/usr/bin:/bin"}, Umask: 0o022,
				Timeout: tt.timeout, Grace: 100 * time.Millisecond,
			})
			must(t, err)
			if res.Exit != tt.exit || !slices.Equal(linesOf(res.Diff), tt.lines) {
				t.Errorf("%s: exit %d, changes %q, want %d, %q", tt.script, res.Exit, linesOf(res.Diff), tt.exit, tt.lines)
			}
			must(t, w.Close())
		}
	})
}

// WLD5, CGR2: a command without a mount namespace is in its cgroup, also where clone3(2) does not
// exist.
func TestCopyInPlaceInGroup(t *testing.T) {
	testenv.In(t, testenv.Host{WithoutUserns: true}, func(t *testing.T) {
		if _, err := cgroup.Parent(true); err != nil {
			testenv.Skip(t, err.Error())
		}
		spec := inPlaceSpec(t)
		spec.Root = true
		spec.Strategy = "direct"
		w, err := New(spec)
		must(t, err)
		cmd := sh("until grep /spn_place$ /proc/self/cgroup; do sleep 0.01; done >group")
		cmd.Dir, cmd.Timeout = spec.Cwd, 30*time.Second
		res, err := w.Run(cmd)
		must(t, errors.Join(err, w.Close()))
		if res.Exit != 0 || slices.ContainsFunc(res.Degraded, func(d Degradation) bool { return d.Name == "cgroup" }) {
			t.Errorf("status %d, degradations %v", res.Exit, res.Degraded)
		}
	})
}

// WLD1: a copy without a mount of its own leaves out devices of the working directory, which would
// be the host's. The world says so, and no diff lists them.
func TestCopyInPlaceHasNoDevices(t *testing.T) {
	testenv.In(t, testenv.Host{WithoutUserns: true, WithoutMounts: true}, func(t *testing.T) {
		spec := inPlaceSpec(t)
		spec.Root = true
		if err := unix.Mknod(filepath.Join(spec.Cwd, "device"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
			testenv.Skip(t, "needs mknod: "+err.Error())
		}
		w, err := New(spec)
		must(t, err)
		cmd := sh("test ! -e device && echo x >f")
		cmd.Dir = spec.Cwd
		res, err := w.Run(cmd)
		must(t, errors.Join(err, w.Close()))
		if res.Exit != 0 || !slices.Equal(linesOf(res.Diff), []string{"+ f"}) {
			t.Errorf("status %d, changes %q", res.Exit, linesOf(res.Diff))
		}
		if !slices.ContainsFunc(res.Degraded, func(d Degradation) bool { return strings.Contains(d.Message, "is a device") }) {
			t.Errorf("nothing says that the device is missing: %v", res.Degraded)
		}
	})
}

// RPL10, DIF7: a signal ends the copying of the tree. No command is run, and nothing stays behind.
func TestCopyIsInterrupted(t *testing.T) {
	testenv.In(t, testenv.Host{User: true, WithoutUserns: true}, func(t *testing.T) {
		spec := inPlaceSpec(t)
		sigs := make(chan os.Signal, 1)
		sigs <- unix.SIGINT
		spec.Signals = &Signals{queue: sigs}
		for i := range 2000 {
			must(t, os.WriteFile(filepath.Join(spec.Cwd, strconv.Itoa(i)), nil, 0o600))
		}
		w, err := New(spec)
		var stopped *Interrupted
		if !errors.As(err, &stopped) || !strings.Contains(err.Error(), "copy "+spec.Cwd+": interrupt") {
			t.Errorf("New = %v, %v; want Interrupted", w, err)
		}
	})
}
