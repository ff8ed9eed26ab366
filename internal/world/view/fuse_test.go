package view

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/mount"
	"substrate/internal/world/upper"
	"substrate/internal/world/view/viewtest"
)

// servedView is a directory under fuse-overlayfs, as in a world.
type servedView struct {
	t        testing.TB
	launcher *launcher
	upper    upper.Upper
	mount    mount.Mount
	root     string
	server   *server
	notes    []string
}

// openServedView mounts a FUSE file system and starts its server.
func openServedView(t testing.TB, lower, scratch string, env ...string) (viewtest.View, error) {
	m := mount.Mount{
		Kind: mount.Fuse, Target: filepath.Join(scratch, "root"), Lower: lower, Upper: filepath.Join(scratch, "upper"), Work: filepath.Join(scratch, "work"),
	}
	var st unix.Stat_t
	if err := unix.Stat(lower, &st); err != nil {
		return nil, err
	}
	for _, dir := range []string{m.Target, m.Upper, m.Work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, m.Upper, []unix.Timespec{st.Atim, st.Mtim}, 0); err != nil {
		return nil, err
	}
	v := &servedView{launcher: newLauncher(os.Geteuid() == 0), t: t, mount: m, root: m.Target, upper: upper.Upper{Dir: m.Upper, Lower: lower, Path: m.Target, Prefix: upper.FusePrefix}}
	v.launcher.env = env
	return v, v.enter()
}

// enter mounts the file system and starts its server.
func (v *servedView) enter() error {
	device, err := os.OpenFile(fuseDevice, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer device.Close()
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,default_permissions,allow_other", device.Fd(), os.Geteuid(), os.Getegid())
	if err := unix.Mount(fuseName, v.root, "fuse", unix.MS_NODEV, data); err != nil {
		return fmt.Errorf("mount %s: %w", data, err)
	}
	v.server, err = v.launcher.start(&v.mount, device)
	return err
}

// leave unmounts the file system as a world does. After that everything is in the upper. It needs
// the capabilities to unmount.
func (v *servedView) leave() error {
	if err := unix.Unmount(v.root, 0); err != nil {
		return os.NewSyscallError("umount", err)
	}
	if note := v.server.wait(time.Now().Add(patience)); note != "" {
		return fmt.Errorf("%s: %s", note, v.server.failure())
	}
	return nil
}

// Reopen starts another server on the same upper.
func (v *servedView) Reopen() error {
	if err := v.leave(); err != nil {
		return err
	}
	kill(v.server)
	return v.enter()
}

func (v *servedView) Root() string { return v.root }

func (v *servedView) Diff() (*fsdiff.Diff, error) {
	var err error
	viewtest.WithCapabilities(v.t, func() { err = v.leave() })
	if err != nil {
		return nil, err
	}
	b := fsdiff.New(v.root, Fuse, 0)
	_, v.notes, err = upper.Walk([]upper.Upper{v.upper}, b)
	return b.Finish(), err
}

func (v *servedView) Notes() []string { return v.notes }

// Close needs the capabilities to unmount.
func (v *servedView) Close() error {
	kill(v.server)
	closeLauncher(v.launcher)
	if err := unix.Unmount(v.root, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return os.NewSyscallError("umount", err)
	}
	return nil
}

// whiteoutName is the prefix of the names that fuse-overlayfs reserves.
const whiteoutName = ".wh."

// fuseSuite is the suite with uppers on disk. It skips the test without fuse.
func fuseSuite(t *testing.T) viewtest.Strategy {
	t.Helper()
	for _, c := range checkFuse(os.Geteuid() == 0) {
		if !c.OK {
			viewtest.Skip(t, c.Reason)
		}
	}
	open := func(lower, scratch string) (viewtest.View, error) { return openServedView(t, lower, scratch) }
	s := viewtest.Strategy{Open: open, Dirs: []string{t.TempDir()}, User: os.Geteuid() != 0, Deviations: maps.Clone(fuseDeviations), Hides: whiteoutName}
	s.Without = fuseUnsteady
	s.Avoid = func(name string) bool {
		return strings.HasPrefix(name, whiteoutName) || len(whiteoutName+name) > 255
	}
	if s.User {
		maps.Copy(s.Deviations, fuseUserDeviations)
	}
	return s
}

// fuseHistories is the suite for random histories.
func fuseHistories(t *testing.T) viewtest.Strategy {
	t.Helper()
	s := fuseSuite(t)
	s.Reopen, s.Without, s.MayBreak = true, fuseUnsteady, fuseBreaks
	s.Avoid = fuseAvoids
	return s
}

// fuseAvoids reports whether the program does not accept a name.
func fuseAvoids(name string) bool {
	return strings.HasPrefix(name, whiteoutName) || len(whiteoutName+name) > 255
}

// DIF4, DIF8: where the upper cannot hold devices, as in a container, whiteouts are files named
// .wh.NAME.
func TestFuseWhiteoutFiles(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, false, func(t *testing.T) {
		s := fuseSuite(t)
		s.Open = func(lower, scratch string) (viewtest.View, error) {
			return openServedView(t, lower, scratch, "FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT=1")
		}
		viewtest.Run(t, s)
		s.Reopen, s.Without, s.MayBreak = true, fuseUnsteady, fuseBreaks
		s.Avoid = fuseAvoids
		viewtest.RunRandom(t, s, 30)
	})
}

// DIF8: fuse-overlayfs passes the suite, except for its known mistakes.
func TestFuseAsRoot(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, false, func(t *testing.T) { viewtest.Run(t, fuseSuite(t)) })
}

func TestFuseAsUser(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, true, func(t *testing.T) { viewtest.Run(t, fuseSuite(t)) })
}

// DIF8: random histories. What the program shows while it runs is not always what it keeps, so the
// oracle looks at what it shows after it was started again. The upper has the same.
func TestFuseRandomAsRoot(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, false, func(t *testing.T) { viewtest.RunRandom(t, fuseHistories(t), 60) })
}

func TestFuseRandomAsUser(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, true, func(t *testing.T) { viewtest.RunRandom(t, fuseHistories(t), 60) })
}

// RPL10: servers that do not end delay a world once, not once for each: after the deadline all are
// killed at once.
func TestServersThatDoNotEnd(t *testing.T) {
	for range 3 {
		p, err := os.StartProcess("/bin/sleep", []string{"sleep", "1000"}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		s := &server{path: "/x", process: p, ended: make(chan struct{})}
		go func() {
			s.state, _ = p.Wait()
			close(s.ended)
		}()
		if err := p.Signal(unix.SIGSTOP); err != nil {
			t.Error(err)
		}
		if note := s.wait(time.Now()); !strings.Contains(note, "/x, did not end and was killed") {
			t.Errorf("note %q", note)
		}
		if note := s.wait(time.Now()); note != "" {
			t.Errorf("of one that has ended: %q", note)
		}
	}
}

// If the host has removed a directory since the plan was made, the world shows an empty one.
func TestFuseLowerGone(t *testing.T) {
	viewtest.InNamespace(t, false, func(t *testing.T) {
		s := fuseSuite(t)
		scratch := t.TempDir()
		lower := filepath.Join(t.TempDir(), "lower")
		if err := os.Mkdir(lower, 0o755); err != nil {
			t.Fatal(err)
		}
		v, err := s.Open(lower, scratch)
		if err != nil {
			t.Fatal(err)
		}
		again := v.(*servedView)
		if err := errors.Join(again.leave(), os.Remove(lower), again.enter()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(again.root+"/new", nil, 0o600); err != nil {
			t.Error(err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
}
