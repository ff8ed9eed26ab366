package shim

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFindPassesOverItself(t *testing.T) { // SHM5
	dir := t.TempDir()
	write := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	shim, links := filepath.Join(dir, "substrate-shim"), filepath.Join(dir, "links")
	write(shim, 0o755)
	write(filepath.Join(links, "other"), 0o755)
	write(filepath.Join(dir, "plain", "git"), 0o644)
	write(filepath.Join(dir, "real", "git"), 0o755)
	if err := os.Symlink(shim, filepath.Join(links, "git")); err != nil {
		t.Fatal(err)
	}
	self, err := os.Stat(shim)
	if err != nil {
		t.Fatal(err)
	}
	path := links + ":" + filepath.Join(dir, "plain") + ":/no/such:" + filepath.Join(dir, "real")
	if got, want := find("git", path, self), filepath.Join(dir, "real", "git"); got != want {
		t.Errorf("find(git) = %q, want %q", got, want)
	}
	if got := find("git", links, self); got != "" {
		t.Errorf("find(git) along the links alone = %q, want none", got)
	}
}

func TestSearchPath(t *testing.T) { // SHM5
	if got := searchPath([]string{"PATH=/links:/bin", "SHIM_ORIGINAL_PATH=/bin"}); got != "/bin" {
		t.Errorf("searchPath with an original path = %q", got)
	}
	if got := searchPath([]string{"PATH=/links:/bin"}); got != "/links:/bin" {
		t.Errorf("searchPath = %q", got)
	}
}
