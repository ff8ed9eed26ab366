package worldfs

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/worldfs/worldfstest"
)

// kernelView is a directory covered by the kernel's overlay, as a world covers it.
type kernelView struct {
	upper Upper
	root  string
	notes []string
}

// openKernelView mounts an overlay over lower, with the options that a world uses.
func openKernelView(lower, scratch string) (worldfstest.View, error) {
	return openWith(lower, scratch, "metacopy=off")
}

// openWithMetacopy mounts one as only root can have it, and as no world does; DIF4 wants its marks read all the same.
func openWithMetacopy(lower, scratch string) (worldfstest.View, error) {
	return openWith(lower, scratch, "metacopy=on")
}

func openWith(lower, scratch, option string) (worldfstest.View, error) {
	upper, work, root := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work"), filepath.Join(scratch, "root")
	for _, dir := range []string{upper, work, root} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return nil, err
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, upper, []unix.Timespec{st.Atim, st.Mtim}, 0); err != nil {
		return nil, err
	}
	v := &kernelView{root: root, upper: Upper{Dir: upper, Lower: lower, Path: root, Prefix: UserPrefix}}
	options := "userxattr,index=off"
	if os.Geteuid() == 0 {
		options = "index=on,redirect_dir=on," + option
		v.upper.Prefix, v.upper.Index = TrustedPrefix, filepath.Join(work, "index")
	}
	options += fmt.Sprintf(",xino=off,volatile,lowerdir=%s,upperdir=%s,workdir=%s", lower, upper, work)
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return nil, fmt.Errorf("mount overlay %s: %w", options, err)
	}
	return v, nil
}

func (v *kernelView) Root() string { return v.root }

func (v *kernelView) Diff() (*fsdiff.Diff, error) {
	before, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	b := fsdiff.New(v.root, "overlay", 0)
	_, notes, err := Walk([]Upper{v.upper}, b)
	v.notes = notes
	if after, listErr := os.ReadDir("/proc/self/fd"); listErr != nil || len(after) != len(before) {
		err = errors.Join(err, fmt.Errorf("%d descriptors are open after Walk, %d before: %v", len(after), len(before), listErr))
	}
	return b.Finish(), err
}

func (v *kernelView) Notes() []string { return v.notes }

func (v *kernelView) Close() error {
	return unix.Unmount(v.root, 0)
}

// kernelStrategy runs the suite with uppers in memory and on disk.
func kernelStrategy(t *testing.T) worldfstest.Strategy {
	t.Helper()
	disk, memory := filepath.Join(t.TempDir(), "disk"), filepath.Join(t.TempDir(), "memory")
	for _, dir := range []string{disk, memory} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	worldfstest.WithCapabilities(t, func() {
		if err := unix.Mount("tmpfs", memory, "tmpfs", 0, "mode=0755"); err != nil {
			t.Fatalf("mount tmpfs: %v", err)
		}
	})
	t.Cleanup(func() {
		worldfstest.WithCapabilities(t, func() {
			if err := unix.Unmount(memory, 0); err != nil {
				t.Errorf("unmount tmpfs: %v", err)
			}
		})
	})
	s := worldfstest.Strategy{Open: openKernelView, Dirs: []string{memory, disk}, User: os.Geteuid() != 0}
	if errors.Is(unix.Setxattr(memory, "user.test", nil, 0), unix.ENOTSUP) {
		t.Log("a tmpfs has no user xattrs before Linux 6.6, so the suite runs on disk alone")
		s.Dirs = []string{disk}
	}
	s.Deviations = map[string]worldfstest.Deviation{}
	if s.User {
		maps.Copy(s.Deviations, brokenLinks)
	}
	if !escapesMarks(t, s) {
		maps.Copy(s.Deviations, unescaped[s.User])
	}
	return s
}

// escapesMarks says whether a command can set xattrs of its own that have the names of the overlay's marks, as it can since Linux 6.7.
func escapesMarks(t *testing.T, s worldfstest.Strategy) (can bool) {
	t.Helper()
	dir := filepath.Join(s.Dirs[0], "escapes")
	for _, d := range []string{dir, dir + "/lower", dir + "/scratch"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	worldfstest.WithCapabilities(t, func() {
		v, err := s.Open(dir+"/lower", dir+"/scratch")
		if err != nil {
			t.Fatal(err)
		}
		name := map[bool]string{false: "trusted.overlay.opaque", true: "user.overlay.opaque"}[s.User]
		can = unix.Setxattr(v.Root(), name, []byte("y"), 0) == nil
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{"", "/incompat", "/incompat/volatile"} {
			_ = os.Chmod(dir+"/scratch/work/work"+d, 0o700) // or the clean-up of a user's test fails
		}
	})
	return can
}

// unescaped: a kernel that does not escape such names refuses them. The key says whether the caller is an ordinary user.
var unescaped = map[bool]map[string]worldfstest.Deviation{
	false: {"DIF4/trusted xattrs with the names of marks": {Fails: "operation not supported"}},
	true: {
		"DIF4/xattrs with the names of marks":    {Fails: "operation not supported"},
		"DIF4/xattr with the name of a whiteout": {Fails: "operation not supported", Want: []string{"+ n"}},
	},
}

// brokenLinks: without an index a name that is copied up leaves its file, for the command too.
var brokenLinks = map[string]worldfstest.Deviation{
	"DIF3/append through one name":                {Want: []string{"~ a"}},
	"DIF3/chmod through one name":                 {Want: []string{"~ b"}},
	"DIF3/written, then that name deleted":        {Want: []string{"- a"}},
	"DIF3/written, then that name made anew":      {Want: []string{"~ a"}},
	"DIF3/written, then that name renamed":        {Want: []string{"- a", "+ c"}},
	"DIF3/one name more, then written through it": {Want: []string{"~ a", "+ c"}},
	"DIF3/symlink with two names":                 {Want: []string{"~ a"}},
}

// DIF8: the kernel's overlay passes the suite, in both forms of its marks.
func TestKernelOverlayAsRoot(t *testing.T) {
	t.Parallel()
	worldfstest.InNamespace(t, false, func(t *testing.T) { worldfstest.Run(t, kernelStrategy(t)) })
}

func TestKernelOverlayAsUser(t *testing.T) {
	t.Parallel()
	worldfstest.InNamespace(t, true, func(t *testing.T) { worldfstest.Run(t, kernelStrategy(t)) })
}

// DIF8: random histories, judged by a full walk before and after.
func TestRandomAsRoot(t *testing.T) {
	t.Parallel()
	worldfstest.InNamespace(t, false, func(t *testing.T) {
		worldfstest.RunRandom(t, kernelStrategy(t), 2000)
	})
}

func TestRandomAsUser(t *testing.T) {
	t.Parallel()
	worldfstest.InNamespace(t, true, func(t *testing.T) {
		worldfstest.RunRandom(t, kernelStrategy(t), 1000)
	})
}

func TestRandomWithMetacopy(t *testing.T) {
	t.Parallel()
	worldfstest.InNamespace(t, false, func(t *testing.T) {
		s := kernelStrategy(t)
		s.Open = openWithMetacopy
		worldfstest.RunRandom(t, s, 200)
	})
}

// The command may take away its own right to read what it made. It is looked at all the same, the true mode is reported, and the
// upper is left as it was, because a world may be kept.
func TestUnreadableUpperAsUser(t *testing.T) {
	t.Parallel()
	worldfstest.InNamespace(t, true, func(t *testing.T) {
		h := newHandMade(t)
		h.file(h.lower+"/d/f", "abc")
		h.file(h.upper+"/d/f", "abd") // same size and time: has to be read
		h.file(h.upper+"/n/e/f", "x")
		modes := map[string]os.FileMode{"/d/f": 0, "/d": 0, "/n/e": 0o200, "/n": 0o100}
		h.check(os.Chmod(h.lower+"/d/f", 0o400))
		h.check(os.Chmod(h.upper+"/d/f", 0o400))
		h.want("~ d/f", "+ n", "+ n/e", "+ n/e/f")
		for _, path := range []string{"/d/f", "/d", "/n/e", "/n"} {
			h.check(os.Chmod(h.upper+path, modes[path]))
		}
		b := fsdiff.New("/w", "overlay", 0)
		_, notes, err := Walk([]Upper{{Dir: h.upper, Lower: h.lower, Path: "/w", Prefix: UserPrefix}}, b)
		if err != nil || len(notes) > 0 {
			t.Errorf("Walk: %v, %q", err, notes)
		}
		var got []string
		d := b.Finish()
		for i := range d.Entries {
			got = append(got, fsdiff.Line(&d.Entries[i])[2:]+" "+d.Entries[i].Mode)
		}
		want := []string{"~ d 0000", "~ d/f 0000", "+ n 0100", "+ n/e 0200", "+ n/e/f 0644"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		worldfstest.WithCapabilities(t, func() {
			for path, mode := range modes {
				if info, err := os.Stat(h.upper + path); err != nil || info.Mode().Perm() != mode {
					t.Errorf("mode of %s afterwards: %v, %v, want %v", path, info.Mode(), err, mode)
				}
				h.check(os.Chmod(h.upper+path, 0o700)) // so that it can be removed
			}
		})
	})
}

// What the user cannot read of the lower does not spoil the list; a note says what is not known.
func TestUnreadableLowerAsUser(t *testing.T) {
	t.Parallel()
	worldfstest.InNamespace(t, true, func(t *testing.T) {
		h := newHandMade(t)
		h.file(h.lower+"/closed/f", "x")
		h.file(h.lower+"/secret", "abc")
		h.file(h.lower+"/open", "x")
		h.file(h.upper+"/closed/f", "y")
		h.file(h.upper+"/secret", "abc")
		h.file(h.upper+"/open", "yy")
		h.check(os.Chmod(h.lower+"/closed", 0))
		h.check(os.Chmod(h.lower+"/secret", 0))
		h.check(os.Chmod(h.upper+"/secret", 0))
		got, notes := h.lines()
		h.check(os.Chmod(h.lower+"/closed", 0o700)) // so that it can be removed
		if diff := cmp.Diff([]string{"~ closed", "+ closed/f", "~ open"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if len(notes) != 2 || !strings.Contains(notes[0]+notes[1], "/w/closed") || !strings.Contains(notes[0]+notes[1], "/w/secret") {
			t.Errorf("notes = %q, want one each about closed and secret", notes)
		}
	})
}

// DIF6: where nothing moved, the lower is not listed; so it need not be readable, only searchable, as /home is on many machines.
func TestLowerThatMayOnlyBeSearchedAsUser(t *testing.T) {
	t.Parallel()
	worldfstest.InNamespace(t, true, func(t *testing.T) {
		h := newHandMade(t)
		h.file(h.lower+"/home/me/f", "x")
		h.file(h.lower+"/home/me/g", "x")
		h.file(h.upper+"/home/me/f", "yy")
		h.file(h.upper+"/home/me/new", "x")
		h.file(h.upper+"/home/me/g", "")
		h.mark(h.upper+"/home/me/g", "whiteout", "")
		for _, path := range []string{"/home/me", "/home", ""} {
			h.check(os.Chmod(h.lower+path, 0o311))
			h.check(os.Chmod(h.upper+path, 0o311))
		}
		h.want("~ home/me/f", "- home/me/g", "+ home/me/new")
		h.mark(h.upper+"/home/me", "opaque", "y") // now it has to be
		h.check(os.Chmod(h.upper, 0o700))
		got, notes := h.lines()
		if diff := cmp.Diff([]string{"~ /w", "~ home/me/f", "- home/me/g", "+ home/me/new"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if len(notes) != 1 || !strings.Contains(notes[0], "/w/home/me") {
			t.Errorf("notes = %q, want one about /w/home/me", notes)
		}
		for _, path := range []string{"", "/home", "/home/me"} { // so that they can be removed
			h.check(os.Chmod(h.lower+path, 0o700))
			h.check(os.Chmod(h.upper+path, 0o700))
		}
	})
}
