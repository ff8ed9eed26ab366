package layout

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A shadow has the entries of the directory with their metadata, and mount points for the rest.
func TestShadowCreate(t *testing.T) {
	host, place := t.TempDir(), filepath.Join(t.TempDir(), "shadow")
	must(t, os.WriteFile(host+"/file", []byte("text"), 0o600))
	must(t, os.Chmod(host+"/file", 0o640))
	_ = unix.Setxattr(host+"/file", "user.note", []byte("kept"), 0)
	_ = unix.Setxattr(host+"/file", "user.overlay.opaque", []byte("y"), 0)
	must(t, os.Symlink("no/where", host+"/link"))
	must(t, unix.Mkfifo(host+"/fifo", 0o600))
	old := time.Unix(1e9, 123456789)
	must(t, os.Chtimes(host+"/file", old, old))
	sparse(t, host+"/sparse")

	s := Shadow{Path: host, Place: place, Stat: stat(t, host), Entries: []ShadowEntry{
		{Name: "file", Stat: stat(t, host+"/file")},
		{Name: "link", Stat: stat(t, host+"/link")},
		{Name: "fifo", Stat: stat(t, host+"/fifo")},
		{Name: "sparse", Stat: stat(t, host+"/sparse")},
		{Name: "vanished", Stat: Stat{Mode: unix.S_IFREG | 0o644}},
		{Name: "dir", Empty: true, Stat: Stat{Mode: unix.S_IFDIR | 0o1777}},
		{Name: "big", Empty: true, Stat: Stat{Mode: unix.S_IFREG | 0o444}},
	}}
	must(t, s.Create())

	for _, name := range []string{"file", "link", "fifo", "sparse", ""} {
		got, want := stat(t, filepath.Join(place, name)), stat(t, filepath.Join(host, name))
		if name == "" {
			got.Size, want.Size = 0, 0
		}
		if got != want {
			t.Errorf("%q in the shadow: %+v, want %+v", name, got, want)
		}
	}
	if text := readFile(t, place+"/file"); text != "text" {
		t.Errorf("file holds %q", text)
	}
	if text := readFile(t, place+"/sparse"); text != readFile(t, host+"/sparse") {
		t.Error("the sparse file differs")
	}
	var st unix.Stat_t
	must(t, unix.Stat(place+"/sparse", &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the sparse file takes %d bytes: its holes were filled", st.Blocks*512)
	}
	if got := stat(t, place+"/dir").Mode; got != unix.S_IFDIR|0o1777 {
		t.Errorf("mode of the mount point = %o", got)
	}
	if _, err := os.Lstat(place + "/vanished"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("vanished: %v", err)
	}
	if n, _ := unix.Getxattr(place+"/file", "user.overlay.opaque", nil); n > 0 {
		t.Error("an attribute that overlay takes for its own was copied")
	}
	value := make([]byte, 10)
	if n, err := unix.Getxattr(host+"/file", "user.note", value); err == nil {
		if m, _ := unix.Getxattr(place+"/file", "user.note", value); m != n {
			t.Error("an attribute was lost")
		}
	}
}

// If something else takes the place of the file, it is not copied, and a fifo does not block the
// copy.
func TestCopyCreateRefuses(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(dir+"/fifo", 0o600))
	must(t, os.Symlink("/etc/passwd", dir+"/link"))
	for _, name := range []string{"fifo", "link", "missing"} {
		if err := (Copy{Path: dir + "/" + name, Place: dir + "/copy"}).Create(); err == nil {
			t.Errorf("Create copied a %s", name)
		}
	}
}

// sparse writes a file of 8 MiB with a little data in the middle.
func sparse(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	_, err = f.WriteAt([]byte("middle"), 3<<20)
	must(t, err)
	must(t, f.Truncate(8<<20))
	must(t, f.Close())
}

func stat(t *testing.T, name string) Stat {
	t.Helper()
	st, err := Host{}.Lstat(name)
	must(t, err)
	return st
}
