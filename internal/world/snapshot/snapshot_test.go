package snapshot

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"substrate/fsdiff"
	"substrate/internal/probe"
	"substrate/internal/testenv"
)

// source is a directory to copy, and the place of its copy.
type source struct {
	t        testing.TB
	src, dst string
}

// newTree makes a source in dir and runs a script in it.
func newTree(t testing.TB, dir, script string) source {
	t.Helper()
	tr := source{t, filepath.Join(dir, "tree"), filepath.Join(dir, "scratch", "copy")}
	for _, d := range []string{tr.src, filepath.Dir(tr.dst)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tr.bash(tr.src, script)
	return tr
}

func (tr source) bash(dir, script string) {
	tr.t.Helper()
	cmd := exec.Command("/bin/bash", "-e", "-c", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		tr.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

func (tr source) copy(o Options) *Snapshot {
	tr.t.Helper()
	s, err := Take(context.Background(), tr.src, tr.dst, o)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { _ = s.Close() })
	return s
}

// refused takes a copy, which must fail before anything is written.
func (tr source) refused(o Options) error {
	tr.t.Helper()
	s, err := Take(context.Background(), tr.src, tr.dst, o)
	if err == nil {
		_ = s.Close()
		tr.t.Fatal("the copy was made")
	}
	if left, _ := os.ReadDir(filepath.Dir(tr.dst)); len(left) > 0 {
		tr.t.Errorf("something was written before it was refused: %v", left)
	}
	return err
}

// changes compares the copy. It returns the lines of the diff and the notes.
func (tr source) changes(s *Snapshot) ([]string, []string) {
	tr.t.Helper()
	b := fsdiff.New(tr.src, "copy-diff", 0)
	_, _, notes, err := s.Compare(b)
	if err != nil {
		tr.t.Fatal(err)
	}
	return linesOf(b.Finish()), notes
}

func linesOf(d *fsdiff.Diff) (lines []string) {
	for i := range d.Entries {
		lines = append(lines, fsdiff.Line(&d.Entries[i])[2:])
	}
	return lines
}

// DIF7: a tree that does not fit is refused before the first byte, with a remedy.
func TestCopyThatDoesNotFit(t *testing.T) {
	tr := newTree(t, t.TempDir(), "head -c 100000 /dev/urandom >f")
	err := tr.refused(Options{Max: 50000})
	var known *probe.Error
	if !errors.As(err, &known) || !strings.Contains(err.Error(), "--copy-max") || known.Remedy == "" {
		t.Errorf("error %v, want one about --copy-max with a remedy", err)
	}
	tr.copy(Options{Max: 200000})
}

func TestCopyThatFindsNoRoom(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		for what, options := range map[string]string{"room for": "size=1M", "20 files": "nr_inodes=10"} {
			dir := testenv.TempDir(t)
			tr := newTree(t, dir, "head -c 2000000 /dev/urandom >f; touch {1..19}")
			if err := unix.Mount("tmpfs", filepath.Dir(tr.dst), "tmpfs", 0, options); err != nil {
				t.Fatal(err)
			}
			if err := tr.refused(Options{}); !strings.Contains(err.Error(), what) {
				t.Errorf("error %v, want one with %q", err, what)
			}
		}
	})
}

// DIF7: a tree that contains the place of its copy is refused, also through a symlink or a bind
// mount.
func TestCopyIntoItself(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		dir := testenv.TempDir(t)
		tr := newTree(t, dir, "mkdir -p d/scratch; echo x >f")
		for _, how := range []string{"plain", "symlink", "bind"} {
			place := filepath.Join(dir, how)
			switch how {
			case "plain":
				place = tr.src + "/d/scratch"
			case "symlink":
				if err := os.Symlink(tr.src+"/d/scratch", place); err != nil {
					t.Fatal(err)
				}
			case "bind":
				tr.bash(dir, "mkdir bind; mount --bind tree bind; mkdir -p bind/d/scratch")
				place += "/d/scratch"
			}
			tr := source{t, tr.src, place + "/copy"}
			if err := tr.refused(Options{}); !errors.Is(err, ErrHoldsScratch) {
				t.Errorf("%s: error %v, want ErrHoldsScratch", how, err)
			}
		}
	})
}

// DIF7: holes, links, modes, times, attributes, ACLs and special files are kept.
func TestCopyKeeps(t *testing.T) {
	testenv.NeedProgram(t, "setfacl")
	tr := newTree(t, t.TempDir(), `
		truncate -s 64M sparse; printf x | dd of=sparse bs=1 seek=40000000 conv=notrunc status=none
		echo a >a; ln a b; mkdir -p d/e; ln a d/e/c; chmod 4751 a; chmod 2711 d
		echo x >ro; setfattr -n user.x -v 1 ro; chmod 444 ro
		echo y >acl; setfacl -m u:4711:rw,m::r acl; mkdir deflt; setfacl -d -m u:4711:rwx deflt; echo z >deflt/f; setfacl -b deflt/f
		mkfifo p; ln -s nowhere l; touch -d @1.5 -h l; touch -d "1999-01-01 00:00:00.123456789" a d/e; mkdir -m 700 closed; echo c >closed/f; test $UID != 0 || chmod 0 closed`)
	tr.bash(filepath.Dir(tr.dst), "setfacl -d -m u:4712:rwx .") // the copy must not inherit it
	s := tr.copy(Options{})
	if len(s.Notes) > 0 {
		t.Errorf("notes: %q", s.Notes)
	}
	const list = `chmod 700 closed; find . -printf '%p %y %m %U %G %n %l %T@ %s\n' | sort; getfacl -R -p . ; getfattr -h -d -R .; test $UID != 0 || chmod 0 closed`
	show := func(dir string) string {
		cmd := exec.Command("/bin/bash", "-c", list+"; stat -c %b sparse >&2")
		cmd.Dir = dir
		var blocks strings.Builder
		cmd.Stderr = &blocks
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, blocks.String())
		}
		if len(strings.TrimSpace(blocks.String())) > 4 {
			t.Errorf("%s: the sparse file takes %s blocks", dir, blocks.String())
		}
		return string(out)
	}
	if diff := cmp.Diff(show(tr.src), show(tr.dst)); diff != "" {
		t.Errorf("(-original +copy):\n%s", diff)
	}
	if lines, notes := tr.changes(s); len(lines)+len(notes) > 0 {
		t.Errorf("looked at and put back: %q %q", lines, notes)
	}
	for _, dir := range []string{tr.src, tr.dst} {
		tr.bash(dir, "chmod 700 closed") // so that it can be removed
	}
}

// WLD9, DIF7: other file systems in the tree are not entered, nor bind mounts of the same one or of
// single files. A note says so.
func TestCopyStaysOnItsMount(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		dir := testenv.TempDir(t)
		tr := newTree(t, dir, `mkdir tmpfs bind remote ../elsewhere; echo secret >../elsewhere/f; echo x >file; echo y >plain
			mount -t tmpfs tmpfs tmpfs; echo t >tmpfs/t; mount --bind ../elsewhere bind; mount --bind ../elsewhere/f file; mount --bind ../elsewhere remote`)
		s := tr.copy(Options{Unasked: []string{tr.src + "/remote"}})
		want := []string{tr.src + "/bind", tr.src + "/file", tr.src + "/remote", tr.src + "/tmpfs"}
		slices.Sort(s.Mounts)
		if diff := cmp.Diff(want, s.Mounts); diff != "" {
			t.Errorf("Mounts (-want +got):\n%s", diff)
		}
		if len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "another file system") || !strings.Contains(s.Notes[0], "3 other paths") {
			t.Errorf("notes: %q", s.Notes)
		}
		tr.bash(tr.dst, "test -z \"$(find bind tmpfs remote -mindepth 1)\" && test ! -s file && test -s plain && rmdir bind && echo z >new")
		lines, _ := tr.changes(s)
		if diff := cmp.Diff([]string{"- bind", "+ new"}, lines); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// DIF3, DIF7: directories that their owner, the caller, may not enter are copied, and what is made
// in them later is listed.
func TestCopyOfClosedDirectories(t *testing.T) {
	testenv.AsUser(t, func(t *testing.T) {
		dir := t.TempDir()
		tr := newTree(t, dir, `mkdir no list enter; for d in no list enter; do echo x >$d/f; done; chmod 0 no; chmod 400 list; chmod 300 enter`)
		s := tr.copy(Options{})
		tr.bash(tr.src, "chmod 700 no list enter")
		if lines, _ := tr.changes(s); lines != nil {
			t.Errorf("changes %q, want none", lines)
		}
		if len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "could not be read") || !strings.Contains(s.Notes[0], "2 other paths") {
			t.Errorf("notes: %q", s.Notes)
		}
		tr.bash(tr.dst, "chmod 700 no list enter; echo y >no/g; mkdir list/d; echo y >list/d/g; echo y >enter/g; chmod 0 no")
		lines, _ := tr.changes(s)
		if want := []string{"~ enter", "+ enter/g", "~ list", "+ list/d", "+ list/d/g", "+ no/g"}; !slices.Equal(lines, want) {
			t.Errorf("changes %q, want %q", lines, want)
		}
		tr.bash(tr.dst, "chmod 700 no") // so that it can be removed
	})
}

// DIF7: what the caller may not read is closed in the copy as well, and a note says so.
func TestCopyOfWhatCannotBeRead(t *testing.T) {
	testenv.AsUser(t, func(t *testing.T) {
		dir := t.TempDir()
		tr := newTree(t, dir, `echo a >open; echo b >closed; mkdir dir; echo c >dir/f; chmod 0 closed dir; echo x >twice; ln twice again; chmod 0 twice`)
		s := tr.copy(Options{})
		tr.bash(tr.src, "chmod 700 dir")
		if len(s.Notes) != 1 || !strings.Contains(s.Notes[0], "could not be read") {
			t.Errorf("notes: %q", s.Notes)
		}
		tr.bash(tr.dst, "! cat closed; ! ls dir; ! cat again; test again -ef twice; echo more >>open")
		if lines, _ := tr.changes(s); !slices.Equal(lines, []string{"~ open"}) {
			t.Errorf("changes %q, want only open", lines)
		}
		tr.bash(tr.dst, "rm -f closed; rmdir dir; chmod 600 twice")
		lines, _ := tr.changes(s)
		if want := []string{"~ again", "- closed", "- dir", "~ open", "~ twice"}; !slices.Equal(lines, want) {
			t.Errorf("changes %q, want %q", lines, want)
		}
	})
}

// WLD9: a tree that changes during the copy never leads elsewhere.
func TestCopyOfTreeThatChanges(t *testing.T) {
	dir := t.TempDir()
	tr := newTree(t, dir, `mkdir -p ../outside/d a/d b; for i in {1..50}; do echo secret >../outside/d/$i; echo fine >a/d/$i; done; echo secret >../outside/f; echo fine >f`)
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			// Errors are ignored: the next turn tries again.
			_ = os.Rename(tr.src+"/a", tr.src+"/b/a")
			_ = os.Symlink(dir+"/outside", tr.src+"/a")
			_ = os.Rename(tr.src+"/f", tr.src+"/b/f")
			_ = os.Symlink(dir+"/outside/f", tr.src+"/f")
			_ = os.Remove(tr.src + "/a")
			_ = os.Rename(tr.src+"/b/a", tr.src+"/a")
			_ = os.Remove(tr.src + "/f")
			_ = os.Rename(tr.src+"/b/f", tr.src+"/f")
		}
	})
	for i := range 25 {
		s, err := Take(context.Background(), tr.src, tr.dst, Options{Workers: 2})
		if err != nil {
			t.Errorf("copy %d: %v", i, err)
			break
		}
		lines, notes := tr.changes(s)
		if len(lines)+len(notes) > 0 {
			t.Errorf("changes in a copy that nobody touched: %q %q", lines, notes)
		}
		_ = s.Close()
		tr.bash(tr.dst, "! grep -rq secret .")
		if err := os.RemoveAll(tr.dst); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	swapping.Wait()
}

// DIF7: if the original was changed meanwhile, the file is listed, and a note says why.
func TestCopyWhoseOriginalChanged(t *testing.T) {
	tr := newTree(t, t.TempDir(), `echo abc >same; echo abc >gone; echo abc >kept; touch -d @1 same gone kept`)
	s := tr.copy(Options{})
	tr.bash(tr.src, "echo xyz >same; touch -d @1 same; rm gone")
	tr.bash(tr.dst, "for f in same gone kept; do echo abc >$f; touch -d @1 $f; done")
	lines, notes := tr.changes(s)
	if want := []string{"~ gone", "~ same"}; !slices.Equal(lines, want) || len(notes) != 2 {
		t.Errorf("changes %q, notes %q; want %q and a note for each", lines, notes, want)
	}
}

// DIF7: a skipped directory is empty, and in no diff.
func TestCopySkips(t *testing.T) {
	tr := newTree(t, t.TempDir(), "mkdir -p .substrate/x d/.substrate; echo x >.substrate/trace; echo y >d/.substrate/f")
	s := tr.copy(Options{Skip: []string{tr.src + "/.substrate"}})
	tr.bash(tr.dst, "test -z \"$(ls .substrate)\"; test -f d/.substrate/f; echo n >.substrate/new")
	if lines, _ := tr.changes(s); len(lines) > 0 {
		t.Errorf("changes %q, want none", lines)
	}
}

// DIF7: contents are shared if the file system supports it.
func TestCopyShares(t *testing.T) {
	for _, fs := range []string{"xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			testenv.InRoot(t, func(t *testing.T) {
				tr := newTree(t, testenv.Image(t, fs), "head -c 30M /dev/zero | tr '\\0' x >big; sync")
				s := tr.copy(Options{})
				if !s.Cloned {
					t.Error("the contents are not shared")
				}
				tr.bash(tr.dst, "printf y | dd of=big bs=1 seek=29999999 conv=notrunc status=none; touch -r ../../tree/big big")
				if lines, _ := tr.changes(s); !slices.Equal(lines, []string{"~ big"}) {
					t.Errorf("changes %q, want big", lines)
				}
				tr.bash(tr.src, "test $(tail -c 1 big) = x")
			})
		})
	}
}

// DIF3: each subvolume of a btrfs has the same inode numbers.
func TestCopyOfSubvolumes(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		tr := newTree(t, testenv.Image(t, "btrfs"), `for s in a b; do btrfs -q subvolume create $s; echo $s >$s/f; ln $s/f $s/g; done; test $(stat -c %i a/f) = $(stat -c %i b/f)`)
		s := tr.copy(Options{})
		tr.bash(tr.dst, "test $(cat a/g b/g | tr -d '\n') = ab; test a/f -ef a/g; test ! a/f -ef b/f; echo x >>b/g")
		if lines, _ := tr.changes(s); !slices.Equal(lines, []string{"~ b/f", "~ b/g"}) || len(s.Notes) > 0 {
			t.Errorf("changes %q, notes %q", lines, s.Notes)
		}
	})
}

// DIF7: a copy that is stopped leaves no descriptors open.
func TestCopyThatIsStopped(t *testing.T) {
	tr := newTree(t, t.TempDir(), "mkdir {1..9}; for i in {1..9}; do touch $i/{1..50}; done")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	before := openDescriptors()
	if _, err := Take(ctx, tr.src, tr.dst, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if after := openDescriptors(); after != before {
		t.Errorf("%d descriptors are open, %d before", after, before)
	}
}

// openDescriptors counts the open descriptors of this process.
func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(entries)
}

// DIF7: the last call of Progress says that everything is done.
func TestCopyProgress(t *testing.T) {
	tr := newTree(t, t.TempDir(), "head -c 300000 /dev/urandom >f; ln f g")
	var last, all int64
	tr.copy(Options{Progress: func(done, total int64) { last, all = done, total }})
	if last != all || all < 300000 || all > 700000 {
		t.Errorf("progress ended at %d of %d", last, all)
	}
}
