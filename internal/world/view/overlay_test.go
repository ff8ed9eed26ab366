package view

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/upper"
	"substrate/internal/world/view/viewtest"
)

// kernelView is a directory under the kernel's overlay, as in a world.
type kernelView struct {
	upper upper.Upper
	root  string
	notes []string
}

// openKernelView mounts an overlay over lower, with the options that a world uses.
func openKernelView(lower, scratch string) (viewtest.View, error) {
	return openWith(lower, scratch, "metacopy=off")
}

// openWithMetacopy mounts an overlay with metacopy, which only root can do and no world does. DIF4
// wants its marks to be read all the same.
func openWithMetacopy(lower, scratch string) (viewtest.View, error) {
	return openWith(lower, scratch, "metacopy=on")
}

func openWith(lower, scratch, option string) (viewtest.View, error) {
	up, work, root := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work"), filepath.Join(scratch, "root")
	for _, dir := range []string{up, work, root} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return nil, err
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, up, []unix.Timespec{st.Atim, st.Mtim}, 0); err != nil {
		return nil, err
	}
	v := &kernelView{root: root, upper: upper.Upper{Dir: up, Lower: lower, Path: root, Prefix: upper.UserPrefix}}
	options := "userxattr,index=off"
	if os.Geteuid() == 0 {
		options = "index=on,redirect_dir=on," + option
		v.upper.Prefix, v.upper.Index = upper.TrustedPrefix, filepath.Join(work, "index")
	}
	options += fmt.Sprintf(",xino=off,volatile,lowerdir=%s,upperdir=%s,workdir=%s", lower, up, work)
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
	_, notes, err := upper.Walk([]upper.Upper{v.upper}, b)
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

// kernelStrategy is the suite with uppers in memory and on disk.
func kernelStrategy(t *testing.T) viewtest.Strategy {
	t.Helper()
	disk, memory := filepath.Join(t.TempDir(), "disk"), filepath.Join(t.TempDir(), "memory")
	for _, dir := range []string{disk, memory} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	viewtest.WithCapabilities(t, func() {
		if err := unix.Mount("tmpfs", memory, "tmpfs", 0, "mode=0755"); err != nil {
			t.Fatalf("mount tmpfs: %v", err)
		}
	})
	t.Cleanup(func() {
		viewtest.WithCapabilities(t, func() {
			if err := unix.Unmount(memory, 0); err != nil {
				t.Errorf("unmount tmpfs: %v", err)
			}
		})
	})
	s := viewtest.Strategy{Open: openKernelView, Dirs: []string{memory, disk}, User: os.Geteuid() != 0}
	if errors.Is(unix.Setxattr(memory, "user.test", nil, 0), unix.ENOTSUP) {
		t.Log("a tmpfs has no user xattrs before Linux 6.6, so the suite runs on disk alone")
		s.Dirs = []string{disk}
	}
	s.Deviations = map[string]viewtest.Deviation{}
	if s.User {
		maps.Copy(s.Deviations, brokenLinks)
	}
	if !escapesMarks(t, s) {
		maps.Copy(s.Deviations, unescaped[s.User])
	}
	return s
}

// escapesMarks reports whether a command can set xattrs with the names of the overlay's marks. It
// can since Linux 6.7.
func escapesMarks(t *testing.T, s viewtest.Strategy) (can bool) {
	t.Helper()
	dir := filepath.Join(s.Dirs[0], "escapes")
	for _, d := range []string{dir, dir + "/lower", dir + "/scratch"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	viewtest.WithCapabilities(t, func() {
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
			_ = os.Chmod(dir+"/scratch/work/work"+d, 0o700) // otherwise the clean-up of a user's test fails
		}
	})
	return can
}

// unescaped are the deviations of a kernel that refuses such names. The key is true for an ordinary
// user.
var unescaped = map[bool]map[string]viewtest.Deviation{
	false: {"DIF4/trusted xattrs with the names of marks": {Fails: "operation not supported"}},
	true: {
		"DIF4/xattrs with the names of marks":    {Fails: "operation not supported"},
		"DIF4/xattr with the name of a whiteout": {Fails: "operation not supported", Want: []string{"+ n"}},
	},
}

// brokenLinks are the deviations without an index: a name that is copied up leaves its file, also
// for the command.
var brokenLinks = map[string]viewtest.Deviation{
	"DIF3/append through one name":                {Want: []string{"~ a"}},
	"DIF3/chmod through one name":                 {Want: []string{"~ b"}},
	"DIF3/written, then that name deleted":        {Want: []string{"- a"}},
	"DIF3/written, then that name made anew":      {Want: []string{"~ a"}},
	"DIF3/written, then that name renamed":        {Want: []string{"- a", "+ c"}},
	"DIF3/one name more, then written through it": {Want: []string{"~ a", "+ c"}},
	"DIF3/symlink with two names":                 {Want: []string{"~ a"}},
}

// DIF8: the kernel's overlay passes the suite with both forms of its marks.
func TestKernelOverlayAsRoot(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, false, func(t *testing.T) { viewtest.Run(t, kernelStrategy(t)) })
}

func TestKernelOverlayAsUser(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, true, func(t *testing.T) { viewtest.Run(t, kernelStrategy(t)) })
}

// DIF8: random histories, compared with a full walk before and after.
func TestRandomAsRoot(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, false, func(t *testing.T) {
		viewtest.RunRandom(t, kernelStrategy(t), 2000)
	})
}

func TestRandomAsUser(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, true, func(t *testing.T) {
		viewtest.RunRandom(t, kernelStrategy(t), 1000)
	})
}

func TestRandomWithMetacopy(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, false, func(t *testing.T) {
		s := kernelStrategy(t)
		s.Open = openWithMetacopy
		viewtest.RunRandom(t, s, 200)
	})
}
