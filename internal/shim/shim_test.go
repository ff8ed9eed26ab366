package shim

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"substrate/internal/config"
)

// write makes a file and its directories.
func write(t *testing.T, path string, mode os.FileMode, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// link makes a symbolic link and its directories.
func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) { // SHM5
	dir := t.TempDir()
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	write(t, at("other", "substrate-shim"), 0o755, "")
	link(t, self, at("links", "git"))
	link(t, at("other", "substrate-shim"), at("other-links", "git"))
	link(t, at("other-links", "git"), at("far-links", "git"))
	write(t, at("plain", "git"), 0o644, "")
	if err := os.MkdirAll(at("dir", "git"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, at("real", "git"), 0o755, "")
	link(t, at("real", "git"), at("bin", "git"))
	write(t, at("shims", "git"), 0o755, "") // no program, whatever it is
	write(t, at("shims", ".version"), 0o600, `{"version":"1","time":"2025-09-10T02:20:33Z","commands":["git"],"target":"/x","hash":"sha256:0","programs":{"git":"`+at("real", "git")+`","npm":"`+at("real", "git")+`"}}`)

	list := func(names ...string) (path string) {
		for _, n := range names {
			path += ":" + at(n)
		}
		return "/no/such" + path
	}
	tests := []struct {
		name, original, path, shimDir string
		want                          string
		err                           error
	}{
		{"passes over shims, directories and plain files", list("links", "other-links", "far-links", "plain", "dir", "real"), "", "", at("real", "git"), nil},
		{"a link to a program is one", list("bin", "real"), "", "", at("bin", "git"), nil},
		{"PATH without an original", "", list("links", "real"), "", at("real", "git"), nil},
		{"PATH has grown", list("links"), list("links", "bin"), "", at("bin", "git"), nil},
		{"the original first", list("real"), list("bin"), "", at("real", "git"), nil},
		{"what deploy knew", list("links"), list("other-links"), at("shims"), at("real", "git"), nil},
		{"not in the directory of the shims", at("shims") + "/:" + at("real"), "", at("shims"), at("real", "git"), nil},
		{"shims alone", list("links", "other-links", "far-links"), "", "", "", errNotFound},
		{"nothing", "", "", "", "", errNotFound},
		{"only a plain file", list("links", "plain"), "", "", "", syscall.EACCES},
	}
	for _, test := range tests {
		cfg := config.Config{OriginalPath: test.original, Path: test.path, ShimDir: test.shimDir}
		got, err := find("git", cfg)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: find(git) = %q, %v, want %q, %v", test.name, got, err, test.want, test.err)
		}
	}
	inside := config.Config{OriginalPath: at("real"), Path: list("links", "bin"), SessionID: "ses_1"}
	if got, err := find("git", inside); got != at("bin", "git") || err != nil {
		t.Errorf("below a recorded command that changed PATH: find(git) = %q, %v, want %q", got, err, at("bin", "git"))
	}
	if got, err := find("npm", config.Config{ShimDir: at("shims")}); err == nil {
		t.Errorf("find(npm) = %q: the file of deploy names a program of another name", got)
	}
}

func TestFindInWorkingDirectory(t *testing.T) { // SHM5
	t.Chdir(t.TempDir())
	write(t, "git", 0o755, "")
	if got, err := find("git", config.Config{Path: "/no/such:"}); got != "./git" || err != nil {
		t.Errorf("find(git) = %q, %v, want ./git", got, err)
	}
}

func TestExported(t *testing.T) { // SHM6
	cfg := config.Config{Path: "/s:/a:/s/:/b:", ShimDir: "/s"}
	if got := exported(nil, cfg); len(got) != 1 || got[0] != "SHIM_ORIGINAL_PATH=/a:/b:" {
		t.Errorf("exported = %q", got)
	}
	cfg.OriginalPath = "/a"
	if got := exported(nil, cfg); len(got) != 0 {
		t.Errorf("exported = %q, want what is there already to stay", got)
	}
}
