package worldfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

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
		options = "index=on,redirect_dir=on,metacopy=off"
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
	b := fsdiff.New(v.root, "overlay", 0)
	_, notes, err := Walk([]Upper{v.upper}, b)
	v.notes = notes
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
	if s.User {
		s.Deviations = brokenLinks
	}
	return s
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
