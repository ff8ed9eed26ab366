package view

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"substrate/fsdiff"
	"substrate/internal/world/snapshot"
	"substrate/internal/world/view/viewtest"
)

// copySuiteView is a copy of a directory, as in a world without overlays.
type copySuiteView struct {
	snapshot *snapshot.Snapshot
	notes    []string
}

func openCopyView(lower, scratch string) (viewtest.View, error) {
	before := openDescriptors()
	s, err := snapshot.Take(context.Background(), lower, filepath.Join(scratch, "copy"), snapshot.Options{})
	if err != nil {
		return nil, err
	}
	if n := openDescriptors() - before; n != 1 {
		return nil, errors.Join(fmt.Errorf("%d descriptors are open after TakeSnapshot, want 1", n), s.Close())
	}
	if len(s.Notes) > 0 {
		return nil, errors.Join(fmt.Errorf("the copy is not exact: %q", s.Notes), s.Close())
	}
	if entries, err := os.ReadDir(scratch); err != nil || len(entries) != 1 {
		return nil, errors.Join(fmt.Errorf("beside the copy there are %v", entries), err, s.Close())
	}
	return &copySuiteView{snapshot: s}, nil
}

// openDescriptors counts the open descriptors of this process.
func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(entries)
}

func (v *copySuiteView) Root() string { return v.snapshot.Dst }

func (v *copySuiteView) Diff() (*fsdiff.Diff, error) {
	before := openDescriptors()
	b := fsdiff.New(v.snapshot.Src, "copy-diff", 0)
	_, _, notes, err := v.snapshot.Compare(b)
	v.notes = notes
	if n := openDescriptors() - before; n != 0 {
		err = errors.Join(err, fmt.Errorf("%d descriptors more are open after Compare", n))
	}
	return b.Finish(), err
}

func (v *copySuiteView) Notes() []string { return v.notes }

func (v *copySuiteView) Close() error { return v.snapshot.Close() }

// copySuite runs the suite with copies in memory and on disk.
func copySuite(t *testing.T) viewtest.Strategy {
	t.Helper()
	s := kernelStrategy(t)
	s.Open = openCopyView
	s.Deviations = copyDeviations
	return s
}

// copyDeviations: in a copy a device 0/0 is only a device. A copy is compared as a whole, so all
// names of a file are found.
var copyDeviations = map[string]viewtest.Deviation{
	"DIF4/a device 0/0 in the covered directory is hidden": {Want: []string{"- d", "- d/f", "- d/w"}},
	"DIF3/name in a directory that is not looked into":     {Want: []string{"~ c/a", "~ d/b"}},
}

// DIF7, DIF8: copy-diff passes the suite.
func TestCopyDiffAsRoot(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, false, func(t *testing.T) { viewtest.Run(t, copySuite(t)) })
}

func TestCopyDiffAsUser(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, true, func(t *testing.T) { viewtest.Run(t, copySuite(t)) })
}

func TestCopyDiffRandomAsRoot(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, false, func(t *testing.T) { viewtest.RunRandom(t, copySuite(t), 600) })
}

func TestCopyDiffRandomAsUser(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, true, func(t *testing.T) { viewtest.RunRandom(t, copySuite(t), 300) })
}
