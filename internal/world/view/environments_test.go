package view

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
	"substrate/internal/world/view/viewtest"
)

// suiteIn runs all cases and some histories of a strategy in one directory.
func suiteIn(t *testing.T, s viewtest.Strategy, dir string) {
	t.Helper()
	unix.Umask(0o022)
	s.Dirs = []string{dir}
	viewtest.Run(t, s)
	if len(s.Unseen) > 0 {
		s.Without = append(s.Without, "chmod") // it may close a directory to the oracle as well
	}
	viewtest.RunRandom(t, s, 50)
}

// DIF8: the suite on common file systems, for the kernel's overlay and for copies.
func TestSuiteOnFileSystems(t *testing.T) {
	strategies := map[string]viewtest.Strategy{
		"overlay":   {Open: openKernelView},
		"copy-diff": {Open: openCopyView, Deviations: copyDeviations},
	}
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		for name, s := range strategies {
			t.Run(fs+" "+name, func(t *testing.T) {
				t.Parallel()
				testenv.InRoot(t, func(t *testing.T) { suiteIn(t, s, testenv.Image(t, fs)) })
			})
		}
	}
}

// DIF8: copies in a container: its root is an overlay, /dev is empty, and /tmp is full.
func TestSuiteInContainer(t *testing.T) {
	testenv.In(t, testenv.Host{Overlays: 1, WithoutFuse: true, FullTmp: true}, func(t *testing.T) {
		suiteIn(t, viewtest.Strategy{
			Open: openCopyView, Deviations: copyDeviations,
			Impossible: map[string]string{"DIF4/a device 0/0 in the covered directory is hidden": "an overlay takes no device 0/0"},
		}, os.Getenv("TMPDIR"))
	})
}

// DIF8: copies for an ordinary user without namespaces and capabilities.
func TestSuiteWithoutUserns(t *testing.T) {
	testenv.In(t, testenv.Host{User: true, WithoutUserns: true, WithoutFuse: true}, func(t *testing.T) {
		const closed = "an ordinary user cannot look into what the case closes"
		suiteIn(t, viewtest.Strategy{
			Open: openCopyView, Deviations: copyDeviations, User: true,
			Unseen: map[string]string{"DIF3/mode 000": closed, "DIF3/mode of a directory without search": closed},
		}, t.TempDir())
	})
}

// DIF8: copies for uid 0 without capabilities, as in some containers.
func TestSuiteWithoutCapabilities(t *testing.T) {
	testenv.In(t, testenv.Host{WithoutCapabilities: true, WithoutUserns: true, WithoutFuse: true}, func(t *testing.T) {
		const closed = "uid 0 without capabilities cannot look into what the case closes"
		suiteIn(t, viewtest.Strategy{
			Open: openCopyView, Deviations: copyDeviations, User: true,
			Unseen: map[string]string{"DIF3/mode 000": closed, "DIF3/mode of a directory without search": closed},
		}, t.TempDir())
	})
}
