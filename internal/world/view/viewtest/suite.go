// Package viewtest is the suite that every file view must pass: a table of cases, and random
// histories compared with an oracle.
//
// A view covers a directory copy-on-write and reports afterwards what was changed through it. The
// suite makes the directory, changes it through the view, and compares the report with what the
// case expects and with a full walk before and after (package oracle). The caller says how a view
// is mounted.
package viewtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/world/view/viewtest/oracle"
)

// View is a directory seen through a strategy.
type View interface {
	Root() string                // where the suite changes the covered directory
	Diff() (*fsdiff.Diff, error) // what was changed, with Root as its root; called once, at the end
	Notes() []string             // the notes of Diff
	Close() error                // releases everything
}

// Reopener is a View that can be closed and opened again. Then it shows what it stored, not what it
// has in memory.
type Reopener interface {
	View
	Reopen() error
}

// Strategy makes views.
type Strategy struct {
	Open     func(lower, scratch string) (View, error) // covers lower; scratch is an empty directory on the wanted file system
	Dirs     []string                                  // directories to work in, on several file systems
	Hides    string                                    // prefix of names that a view hides; "" for none
	Avoid    func(name string) bool                    // names that random histories leave out because cases cover them; nil for none
	Without  []string                                  // steps that random histories leave out, by their names in randomSteps
	Reopen   bool                                      // views are Reopeners, and are opened again before the oracle looks
	MayBreak int                                       // how many of 100 random histories may fail because the server of the view crashes
	User     bool                                      // the caller is an ordinary user; cases that need root are left out
	// Deviations says by the name of a case how this strategy differs. If the case passes without
	// it, the test fails.
	Deviations map[string]Deviation

	// Impossible says why the directory of a case cannot be made in Dirs. If it can be made, the
	// test fails.
	Impossible map[string]string

	// Unseen says why the oracle has no right to see the result of a case. If it can see it, the
	// test fails. The list of changes is compared all the same.
	Unseen map[string]string
}

// Deviation is a known difference of a strategy.
type Deviation struct {
	Want []string // as in Case
	// Wrong is set if the list differs from what the oracle sees. Otherwise the command itself got
	// another result in the view, and the list is right.
	Wrong bool
	// Fails is a part of the error that the command gets in the view; "" for none. The changes up
	// to then are compared all the same.
	Fails string
	// Dies is set if the view itself ends during the case, so that Diff fails.
	Dies bool
}

// Case is one row of the table.
type Case struct {
	Name   string                  // begins with the id of the requirement
	Root   bool                    // needs root
	Before string                  // bash, in the directory before it is covered
	Do     string                  // bash, in the view
	Also   func(root string) error // after Do, in the view
	First  func(root string) error // after Before, in the directory
	Want   []string                // the lines of a report, without their indentation
}

// Run runs all cases.
func Run(t *testing.T, s Strategy) {
	for _, c := range Cases() {
		if c.Root && s.User {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			for _, dir := range s.Dirs {
				runCase(t, s, c, dir)
			}
		})
	}
}

func runCase(t *testing.T, s Strategy, c Case, dir string) {
	t.Helper()
	lower := makeDir(t, dir, "lower")
	err := c.run(lower, c.Before, c.First)
	if why, ok := s.Impossible[c.Name]; ok {
		if t.Logf("cannot be made here: %s: %v", why, err); err == nil {
			t.Errorf("%s: is no longer impossible", dir)
		}
		return
	}
	if err != nil {
		t.Fatalf("before: %v", err)
	}
	age(t, lower)
	deviation, deviates := s.Deviations[c.Name]
	if deviation.Dies {
		runDying(t, s, c, lower, makeDir(t, dir, "scratch"))
		return
	}
	why, unseen := s.Unseen[c.Name]
	d, changes, notes := observe(t, s, unseen, lower, makeDir(t, dir, "scratch"), func(root string) {
		err := c.run(root, c.Do, c.Also)
		switch {
		case deviation.Fails == "" && err != nil:
			t.Fatalf("do: %v", err)
		case deviation.Fails != "" && (err == nil || !strings.Contains(err.Error(), deviation.Fails)):
			t.Errorf("do: %v, want %q", err, deviation.Fails)
		}
	})
	if unseen {
		t.Logf("the oracle cannot look: %s", why)
	} else if !deviation.Wrong {
		if diff := Judge(d, changes, notes); diff != "" {
			t.Errorf("%s: against the oracle (-oracle +got):\n%s", dir, diff)
		}
	}
	got := linesOf(d)
	diff := cmp.Diff(sorted(c.Want), got)
	if deviates && diff == "" && deviation.Fails == "" {
		t.Errorf("%s: no longer deviates", dir)
	}
	if deviates {
		diff = cmp.Diff(sorted(deviation.Want), got)
	}
	if diff != "" {
		t.Errorf("%s: (-want +got):\n%s", dir, diff)
	}
}

// runDying runs a case during which the view dies.
func runDying(t *testing.T, s Strategy, c Case, lower, scratch string) {
	t.Helper()
	var v View
	WithCapabilities(t, func() {
		var err error
		if v, err = s.Open(lower, scratch); err != nil {
			t.Fatalf("open view: %v", err)
		}
	})
	if err := c.run(v.Root(), c.Do, c.Also); err == nil {
		t.Error("do: no error")
	}
	if d, err := v.Diff(); err == nil {
		t.Errorf("no longer dies: %q", linesOf(d))
	}
	WithCapabilities(t, func() {
		if err := v.Close(); err != nil {
			t.Errorf("close view: %v", err)
		}
	})
}

// linesOf returns the diff in the form of Case.Want.
func linesOf(d *fsdiff.Diff) []string {
	lines := []string{}
	for i := range d.Entries {
		e := d.Entries[i]
		if e.Raw() == d.Root {
			e.Path = "ROOT"
		}
		lines = append(lines, strings.TrimPrefix(fsdiff.Line(&e), "  "))
	}
	return sorted(lines)
}

// sorted sorts lines by path.
func sorted(lines []string) []string {
	lines = append([]string{}, lines...)
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	return lines
}

// observe covers lower, changes it, and returns what the view and the oracle saw. It returns no
// diff if the view broke and that is allowed.
func observe(t *testing.T, s Strategy, unseen bool, lower, scratch string, change func(root string)) (*fsdiff.Diff, []oracle.Change, []string) {
	t.Helper()
	var v View
	var before, after oracle.Tree
	WithCapabilities(t, func() {
		var err error
		if v, err = s.Open(lower, scratch); err != nil {
			t.Fatalf("open view: %v", err)
		}
		before = look(t, v.Root())
	})
	defer WithCapabilities(t, func() {
		if err := v.Close(); err != nil {
			t.Errorf("close view: %v", err)
		}
	})
	change(v.Root())
	var broken error
	WithCapabilities(t, func() {
		if again, ok := v.(Reopener); ok && s.Reopen {
			broken = again.Reopen()
		}
		if broken == nil {
			after, broken = oracle.Look(v.Root())
		}
	})
	if broken != nil && s.MayBreak > 0 {
		t.Logf("the view broke: %v", broken)
		return nil, nil, nil
	}
	if unseen == (broken == nil) || unseen && !errors.Is(broken, fs.ErrPermission) {
		t.Fatalf("look after the changes: %v, unseen: %v", broken, unseen)
	}
	d, err := v.Diff()
	if err != nil {
		t.Fatalf("Diff: %v", err)
	}
	WithCapabilities(t, func() { checkKept(t, s, before, look(t, lower)) })
	return d, oracle.Compare(before, after), v.Notes()
}

// checkKept checks that the covered directory is what the view showed at the start.
func checkKept(t *testing.T, s Strategy, before, lower oracle.Tree) {
	t.Helper()
	for _, c := range oracle.Compare(before, lower) {
		dir, name := filepath.Split(c.Path)
		if _, hides := lower[dir+s.Hides+name]; s.Hides != "" && c.Kind == "create" && (strings.HasPrefix(name, s.Hides) || hides) {
			continue
		}
		if hidden := c.Kind == "create" && c.After.Type == "char" && c.After.Rdev == 0; !hidden {
			t.Errorf("WLD1: %s in the covered directory: %s", c.Kind, c.Path)
		}
	}
}

func look(t *testing.T, root string) oracle.Tree {
	t.Helper()
	tree, err := oracle.Look(root)
	if err != nil {
		t.Fatalf("oracle: %v", err)
	}
	return tree
}

// run runs a script and a function of the case.
func (c *Case) run(dir, script string, f func(string) error) error {
	if script != "" {
		cmd := exec.Command("/bin/bash", "-e", "-c", script)
		cmd.Dir = dir
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "OLD=2001-02-03 04:05:06.123456789 UTC"}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
	}
	if f != nil {
		return f(dir)
	}
	return nil
}

// age sets old times, so that a change is seen even if the clock is coarse.
func age(t *testing.T, root string) {
	t.Helper()
	old := unix.NsecToTimespec(time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC).UnixNano())
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{old, old}, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		t.Fatalf("set times: %v", err)
	}
}

// makeDir makes a new directory and removes it after the test.
func makeDir(t *testing.T, parent, name string) string {
	t.Helper()
	dir := newDir(t, parent, name)
	t.Cleanup(func() { WithCapabilities(t, func() { removeAll(t, dir) }) })
	return dir
}

// newDir is makeDir for callers that remove the directory themselves.
func newDir(t *testing.T, parent, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, name+"-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
