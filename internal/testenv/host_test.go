package testenv_test

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"substrate/internal/testenv"
)

// tryUserns reports whether a program may make a user namespace.
func tryUserns(t *testing.T) error {
	t.Helper()
	out, err := exec.Command("unshare", "--user", "true").CombinedOutput()
	if err != nil {
		t.Logf("unshare: %s", out)
	}
	return err
}

func magic(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Type)
}

// PKG2, DIF8: what a crippled host lacks is lacking, and the rest is there.
func TestHostWithoutUserns(t *testing.T) {
	testenv.In(t, testenv.Host{User: true, WithoutUserns: true, WithoutMounts: true, WithoutLandlock: true}, func(t *testing.T) {
		if os.Getuid() == 0 {
			t.Error("uid 0, want an ordinary user's")
		}
		if tryUserns(t) == nil {
			t.Error("a user namespace was made")
		}
		if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, 1); errno != unix.ENOSYS {
			t.Errorf("landlock_create_ruleset: %v, want ENOSYS", errno)
		}
		if err := os.WriteFile(os.Getenv("HOME")+"/x", nil, 0o600); err != nil {
			t.Error(err)
		}
	})
}

func TestHostWithoutMounts(t *testing.T) {
	testenv.In(t, testenv.Host{WithoutMounts: true}, func(t *testing.T) {
		if err := unix.Mount("tmpfs", t.TempDir(), "tmpfs", 0, ""); !errors.Is(err, unix.EPERM) {
			t.Errorf("mount: %v, want EPERM", err)
		}
		if err := tryUserns(t); err != nil {
			t.Errorf("user namespaces are gone as well: %v", err)
		}
	})
}

func TestHostWithoutCapabilities(t *testing.T) {
	testenv.In(t, testenv.Host{WithoutCapabilities: true}, func(t *testing.T) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
			if !strings.Contains(string(status), set+":\t0000000000000000\n") {
				t.Errorf("%s is not empty:\n%s", set, status)
			}
		}
		if os.Getuid() != 0 {
			t.Errorf("uid %d, want 0", os.Getuid())
		}
	})
}

func TestHostOnOverlay(t *testing.T) {
	for _, n := range []int{1, 2} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			testenv.In(t, testenv.Host{Overlays: n, WithoutFuse: true, FullTmp: true}, func(t *testing.T) {
				if got := magic(t, "/"); got != unix.OVERLAYFS_SUPER_MAGIC {
					t.Errorf("file system of / is %#x, want an overlay", got)
				}
				dir := t.TempDir()
				if got := magic(t, dir); got != unix.OVERLAYFS_SUPER_MAGIC {
					t.Errorf("file system of %s is %#x, want an overlay", dir, got)
				}
				if _, err := os.Stat("/dev/fuse"); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("/dev/fuse: %v, want none", err)
				}
				if err := os.WriteFile("/tmp/x", []byte("x"), 0o600); !errors.Is(err, unix.ENOSPC) {
					t.Errorf("write to /tmp: %v, want no space", err)
				}
				for _, sub := range []string{"u", "w", "m"} {
					if err := os.Mkdir("/run/"+sub, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				err := unix.Mount("overlay", "/run/m", "overlay", 0, "lowerdir=/,upperdir=/run/u,workdir=/run/w")
				if (err == nil) != (n == 1) {
					t.Errorf("an overlay over %d overlays: %v", n, err)
				}
			})
		})
	}
}

func TestImage(t *testing.T) {
	types := map[string]int64{"ext4": unix.EXT4_SUPER_MAGIC, "xfs": unix.XFS_SUPER_MAGIC, "btrfs": unix.BTRFS_SUPER_MAGIC}
	for name, want := range types {
		t.Run(name, func(t *testing.T) {
			testenv.InRoot(t, func(t *testing.T) {
				if got := magic(t, testenv.Image(t, name)); got != want {
					t.Errorf("file system is %#x, want %#x", got, want)
				}
			})
		})
	}
}
