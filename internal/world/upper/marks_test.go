package upper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"substrate/fsdiff"
)

// handMade is an upper and a lower that a test writes by hand, without a mount.
type handMade struct {
	t            testing.TB
	upper, lower string
}

func newHandMade(t testing.TB) *handMade {
	t.Helper()
	h := &handMade{t, filepath.Join(t.TempDir(), "upper"), filepath.Join(t.TempDir(), "lower")}
	h.dir(h.upper)
	h.dir(h.lower)
	return h
}

func (h *handMade) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *handMade) dir(path string) {
	h.t.Helper()
	h.check(os.MkdirAll(path, 0o755))
}

// file writes a file. All files have the same time.
func (h *handMade) file(path, content string) {
	h.t.Helper()
	h.dir(filepath.Dir(path))
	h.check(os.WriteFile(path, []byte(content), 0o644))
	h.check(os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 7)))
}

func (h *handMade) mark(path, name, value string) {
	h.t.Helper()
	err := unix.Lsetxattr(path, UserPrefix+name, []byte(value), 0)
	if err != nil {
		h.t.Fatalf("setxattr %s: %v", path, err)
	}
}

// lines walks the upper and returns the report.
func (h *handMade) lines(more ...Upper) (lines, notes []string) {
	h.t.Helper()
	b := fsdiff.New("/w", "overlay", 0)
	uppers := append([]Upper{{Dir: h.upper, Lower: h.lower, Path: "/w", Prefix: UserPrefix}}, more...)
	_, notes, err := Walk(uppers, b)
	h.check(err)
	d := b.Finish()
	for i := range d.Entries {
		lines = append(lines, fsdiff.Line(&d.Entries[i])[2:])
	}
	return lines, notes
}

func (h *handMade) want(want ...string) {
	h.t.Helper()
	got, notes := h.lines()
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("changes (-want +got):\n%s", diff)
	}
	if len(notes) > 0 {
		h.t.Errorf("notes: %q", notes)
	}
}

// DIF4: an empty file with the attribute is a whiteout; a file with content is not.
func TestXattrWhiteout(t *testing.T) {
	h := newHandMade(t)
	h.file(h.lower+"/d/gone", "x")
	h.file(h.lower+"/d/tree/f", "x")
	h.file(h.lower+"/d/stays", "x")
	h.file(h.upper+"/d/gone", "")
	h.file(h.upper+"/d/tree", "")
	h.file(h.upper+"/d/never", "")
	h.file(h.upper+"/d/full", "x")
	h.mark(h.upper+"/d", "opaque", "x") // only means that there are such whiteouts
	for _, name := range []string{"gone", "tree", "never", "full"} {
		h.mark(h.upper+"/d/"+name, "whiteout", "")
	}
	h.want("+ d/full", "- d/gone", "- d/tree", "- d/tree/f")
}

// DIF4: only the marks of this mount count: root's mounts ignore user.overlay.
func TestMarksOfTheOtherForm(t *testing.T) {
	h := newHandMade(t)
	h.file(h.lower+"/d/f", "x")
	h.dir(h.upper + "/d")
	h.mark(h.upper+"/d", "opaque", "y")
	h.want("- d/f")
	b := fsdiff.New("/w", "overlay", 0)
	_, _, err := Walk([]Upper{{Dir: h.upper, Lower: h.lower, Path: "/w", Prefix: TrustedPrefix}}, b)
	h.check(err)
	if d := b.Finish(); d.Summary != "1 modified" || d.Entries[0].Path != "d" {
		t.Errorf("with the other prefix: %s %+v", d.Summary, d.Entries)
	}
}

// DIF3: redirects to a name in the same directory, to a path from the root, and one below another.
func TestRedirects(t *testing.T) {
	h := newHandMade(t)
	h.file(h.lower+"/a/f", "1")
	h.file(h.lower+"/a/s/g", "2")
	h.file(h.lower+"/a/s/h", "3")
	h.dir(h.lower + "/x")
	h.file(h.upper+"/a", "")
	h.mark(h.upper+"/a", "whiteout", "")
	h.dir(h.upper + "/b/r") // a is b, and its s is r
	h.mark(h.upper+"/b", "redirect", "a")
	h.mark(h.upper+"/b/r", "redirect", "s")
	h.file(h.upper+"/b/s", "")
	h.mark(h.upper+"/b/s", "whiteout", "")
	h.file(h.upper+"/b/r/h", "")
	h.mark(h.upper+"/b/r/h", "whiteout", "")
	h.dir(h.upper + "/x/y")
	h.mark(h.upper+"/x/y", "redirect", "/a/s")
	h.want("- a", "- a/f", "- a/s", "- a/s/g", "- a/s/h", "+ b", "+ b/f", "+ b/r", "+ b/r/g", "+ x/y", "+ x/y/g", "+ x/y/h")
}

// DIF5: a file whose metadata alone was copied up has the content of the lower.
func TestMetacopy(t *testing.T) {
	h := newHandMade(t)
	for _, name := range []string{"same", "chmod", "old", "d/deep"} {
		h.file(h.lower+"/"+name, "content")
	}
	empty := func(name string) {
		h.file(h.upper+"/"+name, "")
		h.check(os.Truncate(h.upper+"/"+name, int64(len("content"))))
		h.check(os.Chtimes(h.upper+"/"+name, time.Unix(1e9, 0), time.Unix(1e9, 7)))
		h.mark(h.upper+"/"+name, "metacopy", "")
	}
	empty("same")
	empty("chmod")
	h.check(os.Chmod(h.upper+"/chmod", 0o600))
	h.file(h.upper+"/old", "")
	h.mark(h.upper+"/old", "whiteout", "")
	empty("new")
	h.mark(h.upper+"/new", "redirect", "/old")
	empty("d/deep") // now it has the content of another file, which happens to be the same
	h.mark(h.upper+"/d/deep", "redirect", "/same")
	h.want("~ chmod", "+ new", "- old")
	h.file(h.lower+"/same", "CONTENT")
	h.want("~ chmod", "~ d/deep", "+ new", "- old")
}

// DIF3: paths may be longer than any system call accepts.
func TestPathsLongerThanPathMax(t *testing.T) {
	h := newHandMade(t)
	const levels = 60
	name := strings.Repeat("n", 200)
	for _, root := range []string{h.upper, h.lower} {
		fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		h.check(err)
		for range levels {
			h.check(unix.Mkdirat(fd, name, 0o755))
			next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			h.check(err)
			h.check(unix.Close(fd))
			fd = next
		}
		f, err := unix.Openat(fd, filepath.Base(root), unix.O_CREAT|unix.O_WRONLY, 0o644)
		h.check(err)
		h.check(unix.Close(f))
		h.check(unix.Close(fd))
	}
	deep := strings.Repeat(name+"/", levels)
	h.want("+ " + deep + "upper")
	h.mark(h.upper+"/"+name, "opaque", "y")
	got, _ := h.lines()
	if want := []string{"- " + deep + "lower", "+ " + deep + "upper"}; !cmp.Equal(got, want) {
		t.Errorf("opaque: %d lines, want 2", len(got))
	}
}

// DIF3: a tree may be deeper than the limit of open files.
func TestDeeperThanDescriptors(t *testing.T) {
	h := newHandMade(t)
	var limit, small unix.Rlimit
	h.check(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	fd, err := unix.Open(h.upper, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	h.check(err)
	const levels = 2000
	for range levels {
		h.check(unix.Mkdirat(fd, "d", 0o755))
		next, err := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		h.check(err)
		h.check(unix.Close(fd))
		fd = next
	}
	h.check(unix.Close(fd))
	small = limit
	small.Cur = uint64(openFiles(t)) + 30
	h.check(unix.Setrlimit(unix.RLIMIT_NOFILE, &small))
	defer func() { h.check(unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }()
	if got, _ := h.lines(); len(got) != levels {
		t.Errorf("%d lines, want %d", len(got), levels)
	}
}

// openFiles counts the descriptors of this process.
func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// DIF3: files of several GB with holes cost only the time for their data.
func TestSparseIsQuick(t *testing.T) {
	h := newHandMade(t)
	for _, root := range []string{h.upper, h.lower} {
		f, err := os.Create(root + "/big")
		h.check(err)
		h.check(f.Truncate(4 << 40))
		_, err = f.WriteAt([]byte("x"), 3<<40)
		h.check(err)
		h.check(f.Close())
		h.check(os.Chtimes(root+"/big", time.Unix(1e9, 0), time.Unix(1e9, 7)))
	}
	start := time.Now()
	h.want()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("comparing 4 TB of holes took %v", took)
	}
	f, err := os.OpenFile(h.upper+"/big", os.O_RDWR, 0)
	h.check(err)
	_, err = f.WriteAt([]byte("y"), 2<<40)
	h.check(err)
	h.check(f.Close())
	h.check(os.Chtimes(h.upper+"/big", time.Unix(1e9, 0), time.Unix(1e9, 7)))
	h.want("~ big")
}

// WLD1: no diff lists what is masked, what another overlay covers, or what lies below a mount.
func TestSkip(t *testing.T) {
	h := newHandMade(t)
	for _, p := range []string{"/keep/f", "/store/f", "/store/d/f", "/deep/store/f", "/deep/f", "/inner/under", "/storey"} {
		h.file(h.upper+p, "x")
	}
	h.file(h.lower+"/gone/store/f", "x")
	h.file(h.lower+"/gone/f", "x")
	h.file(h.upper+"/gone", "")
	h.mark(h.upper+"/gone", "whiteout", "")
	inner := newHandMade(t)
	inner.file(inner.upper+"/new", "x")
	b := fsdiff.New("/w/keep", "overlay", 0)
	entries, _, err := Walk([]Upper{
		{Dir: h.upper, Lower: h.lower, Path: "/w", Prefix: UserPrefix, Skip: []string{"/w/store", "/w/deep/store/", "/w/gone/store", "/other"}},
		{Dir: inner.upper, Lower: inner.lower, Path: "/w/inner", Prefix: UserPrefix},
	}, b)
	h.check(err)
	var got []string
	d := b.Finish()
	for i := range d.Entries {
		got = append(got, fsdiff.Line(&d.Entries[i])[2:])
	}
	want := []string{"+ /w/deep", "+ /w/deep/f", "- /w/gone", "- /w/gone/f", "+ /w/inner/new", "+ /w/keep", "+ /w/storey", "+ f"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if entries < 10 {
		t.Errorf("%d upper entries", entries)
	}
}

// The root of an overlay is compared with Upper.Start, not with the lower.
func TestRootState(t *testing.T) {
	h := newHandMade(t)
	h.check(os.Chmod(h.upper, 0o555)) // the rights of a user in a directory of root
	start, err := ReadRootState(h.upper, UserPrefix)
	h.check(err)
	walk := func(start *RootState) string {
		b := fsdiff.New("/", "overlay", 0)
		_, _, err := Walk([]Upper{{Dir: h.upper, Lower: h.lower, Path: "/", Prefix: UserPrefix, Start: start}}, b)
		h.check(err)
		var lines []string
		d := b.Finish()
		for i := range d.Entries {
			lines = append(lines, fsdiff.Line(&d.Entries[i]), d.Entries[i].Mode, d.Entries[i].Before.Mode)
		}
		return strings.Join(lines, "|")
	}
	if got := walk(start); got != "" {
		t.Errorf("as it was given: %q", got)
	}
	if got, want := walk(nil), "  ~ /|0555|0755"; got != want {
		t.Errorf("against the lower: %q, want %q", got, want)
	}
	h.check(os.Chmod(h.upper, 0o700))
	if got, want := walk(start), "  ~ /|0700|0755"; got != want {
		t.Errorf("after chmod: %q, want %q", got, want)
	}
	h.check(os.Chmod(h.upper, 0o755))
	h.check(unix.Setxattr(h.upper, "user.x", nil, 0))
	h.check(os.Chmod(h.upper, 0o555))
	if got, want := walk(start), "  ~ /|0555|0755"; got != want {
		t.Errorf("after setxattr: %q, want %q", got, want)
	}
}

// An upper that cannot be opened is an error. The others are walked all the same.
func TestMissingUpper(t *testing.T) {
	h := newHandMade(t)
	h.file(h.upper+"/f", "x")
	b := fsdiff.New("/w", "overlay", 0)
	_, notes, err := Walk([]Upper{
		{Dir: h.upper + "-none", Lower: h.lower, Path: "/gone", Prefix: UserPrefix},
		{Dir: h.upper, Lower: h.lower, Path: "/w", Prefix: UserPrefix},
		{Dir: h.upper, Lower: h.lower + "-none", Path: "/x", Prefix: UserPrefix},
	}, b)
	if err == nil || !strings.Contains(err.Error(), "/gone") {
		t.Errorf("Walk = %v, want an error about /gone", err)
	}
	if got, want := fmt.Sprint(b.Counts()), "2 created"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "/x") {
		t.Errorf("notes = %q, want one about /x", notes)
	}
}
