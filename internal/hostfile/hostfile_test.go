package hostfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new/dir/file")
	f, err := OpenPrivate(path, os.O_WRONLY)
	must(t, err)
	must(t, f.Chmod(0o644))
	must(t, f.Close())
	f, err = OpenPrivate(path, os.O_WRONLY)
	must(t, err)
	defer f.Close()
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): os.ModeDir | 0o700} {
		if st, err := os.Stat(name); err != nil || st.Mode() != want {
			t.Errorf("mode of %s = %v, %v, want %v", name, st.Mode(), err, want)
		}
	}
	link, fifo := path+".link", path+".fifo"
	must(t, os.Symlink(path, link))
	must(t, unix.Mkfifo(fifo, 0o600))
	if _, err := OpenPrivate(link, os.O_WRONLY); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("OpenPrivate of a link = %v, want ELOOP", err)
	}
	if _, err := OpenPrivate(fifo, os.O_RDWR); !errors.Is(err, ErrNotPrivate) {
		t.Errorf("OpenPrivate of a named pipe = %v, want ErrNotPrivate", err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := os.Create(path)
	must(t, err)
	second, err := os.Open(path)
	must(t, err)
	defer second.Close()
	must(t, Lock(first, 0))
	if err := Lock(second, 5*time.Millisecond); !errors.Is(err, syscall.EWOULDBLOCK) || NoLocks(err) {
		t.Errorf("Lock of a locked file = %v, want EWOULDBLOCK", err)
	}
	must(t, first.Close())
	must(t, Lock(second, 0))
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, text := range []string{"first", "second"} {
		must(t, Replace(path, []byte(text), 0o444))
		got, err := os.ReadFile(path)
		must(t, err)
		if st, err := os.Stat(path); string(got) != text || err != nil || st.Mode() != 0o444 {
			t.Errorf("Replace wrote %q with mode %v, %v, want %q with 0444", got, st.Mode(), err, text)
		}
	}
	must(t, os.Mkdir(filepath.Join(dir, "dir"), 0o700))
	if Replace(filepath.Join(dir, "dir"), nil, 0o600) == nil {
		t.Error("Replace of a directory: no error")
	}
	if names, _ := filepath.Glob(dir + "/.new-*"); names != nil {
		t.Errorf("Replace left %v", names)
	}
}

// A tree deeper than any path may be long, with a directory that is closed and a link that leads
// out.
func TestRemoveTree(t *testing.T) {
	base := t.TempDir()
	must(t, os.WriteFile(base+"/precious", nil, 0o600))
	top := base + "/top"
	must(t, os.MkdirAll(top+"/closed/in", 0o700))
	must(t, os.Symlink(base, top+"/link"))
	must(t, os.Chmod(top+"/closed", 0))
	fd, err := unix.Open(top, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	name := strings.Repeat("n", 40)
	for range 4 * maxOpen {
		must(t, unix.Mkdirat(fd, name, 0o700))
		below, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Close(fd))
		fd = below
	}
	must(t, unix.Close(fd))
	must(t, RemoveTree(top))
	must(t, RemoveTree(top)) // again
	if _, err := os.Lstat(top); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("lstat after RemoveTree: %v, want that it does not exist", err)
	}
	if _, err := os.Lstat(base + "/precious"); err != nil {
		t.Errorf("RemoveTree removed what lies outside: %v", err)
	}
}

// WLD9: what is mounted in a tree stays, also a bind mount of the same file system.
func TestRemoveTreeWithMount(t *testing.T) {
	testenv.InRoot(t, func(t *testing.T) {
		base := testenv.TempDir(t)
		must(t, os.MkdirAll(base+"/project", 0o700))
		must(t, os.MkdirAll(base+"/top/a/mnt", 0o700))
		must(t, os.WriteFile(base+"/project/precious", nil, 0o600))
		must(t, unix.Mount(base+"/project", base+"/top/a/mnt", "", unix.MS_BIND, ""))
		defer unix.Unmount(base+"/top/a/mnt", unix.MNT_DETACH) //nolint:errcheck // the namespace goes
		if err := RemoveTree(base + "/top"); !errors.Is(err, unix.EXDEV) {
			t.Errorf("RemoveTree = %v, want EXDEV", err)
		}
		if _, err := os.Lstat(base + "/project/precious"); err != nil {
			t.Errorf("RemoveTree went into a mount: %v", err)
		}
	})
}
