package state

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// WLD6: a name becomes part of paths, so only safe characters pass.
func TestCheckName(t *testing.T) {
	for _, bad := range []string{"", ".", "..", "../../etc", "a/b", "a b", "a-b", "ä", "a\n", "a\x00", string(make([]byte, maxName+1))} {
		if CheckName(bad) == nil {
			t.Errorf("CheckName(%q) took it", bad)
		}
	}
	for _, good := range []string{"a", "spn_01a20169a6287b6ab0cc2e2600898d61", "spn_01a20169a6287b6ab0cc2e2600898d61_24"} {
		if err := CheckName(good); err != nil {
			t.Errorf("CheckName(%q) = %v", good, err)
		}
	}
}

// WLD6: foreign ids give names too, and the same id the same name.
func TestNameOf(t *testing.T) {
	for id, want := range map[string]string{
		"spn_01a20169a6287b6ab0cc2e2600898d61": "spn_01a20169a6287b6ab0cc2e2600898d61",
		"abc":                                  "abc",
		"../../etc":                            "",
		strings.Repeat("a", 41):                "",
	} {
		got := NameOf(id)
		if CheckName(got) != nil || got != NameOf(id) {
			t.Errorf("NameOf(%q) = %q", id, got)
		}
		if CheckName(id) == nil && len(id) <= 40 && got != want {
			t.Errorf("NameOf(%q) = %q, want %q", id, got, want)
		}
		if len(id) > 40 && (len(got) != 20 || got == id) {
			t.Errorf("NameOf(%q) = %q, want a hash", id, got)
		}
	}
}

// WLD7: a root that others can write to, or that is a symlink, is not used.
func TestUsableRoot(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	link := filepath.Join(dir, "link")
	good := filepath.Join(dir, "substrate-1", "overlay")
	for _, err := range []error{os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.Symlink(dir, link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := UsableRoot("tests", []string{open, link, "/proc/nowhere", good}, nil)
	if got != good || err != nil {
		t.Errorf("UsableRoot = %q, %v; want %q", got, err, good)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Dir(good), &st); err != nil || st.Mode&0o777 != 0o700 {
		t.Errorf("the directory above has mode %o, %v; want 0700", st.Mode, err)
	}
	if _, err := UsableRoot("tests", []string{open, link}, nil); err == nil {
		t.Error("UsableRoot took a root that others can write")
	}
}
