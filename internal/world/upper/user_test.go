package upper

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"substrate/fsdiff"
	"substrate/internal/world/view/viewtest"
)

// The command may take away its own right to read what it made. The walk reads it all the same,
// reports the true mode, and restores it, because a world may be kept.
func TestUnreadableUpperAsUser(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, true, func(t *testing.T) {
		h := newHandMade(t)
		h.file(h.lower+"/d/f", "abc")
		h.file(h.upper+"/d/f", "abd") // same size and time: its content must be read
		h.file(h.upper+"/n/e/f", "x")
		modes := map[string]os.FileMode{"/d/f": 0, "/d": 0, "/n/e": 0o200, "/n": 0o100}
		h.check(os.Chmod(h.lower+"/d/f", 0o400))
		h.check(os.Chmod(h.upper+"/d/f", 0o400))
		h.want("~ d/f", "+ n", "+ n/e", "+ n/e/f")
		for _, path := range []string{"/d/f", "/d", "/n/e", "/n"} {
			h.check(os.Chmod(h.upper+path, modes[path]))
		}
		b := fsdiff.New("/w", "overlay", 0)
		_, notes, err := Walk([]Upper{{Dir: h.upper, Lower: h.lower, Path: "/w", Prefix: UserPrefix}}, b)
		if err != nil || len(notes) > 0 {
			t.Errorf("Walk: %v, %q", err, notes)
		}
		var got []string
		d := b.Finish()
		for i := range d.Entries {
			got = append(got, fsdiff.Line(&d.Entries[i])[2:]+" "+d.Entries[i].Mode)
		}
		want := []string{"~ d 0000", "~ d/f 0000", "+ n 0100", "+ n/e 0200", "+ n/e/f 0644"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		viewtest.WithCapabilities(t, func() {
			for path, mode := range modes {
				if info, err := os.Stat(h.upper + path); err != nil || info.Mode().Perm() != mode {
					t.Errorf("mode of %s afterwards: %v, %v, want %v", path, info.Mode(), err, mode)
				}
				h.check(os.Chmod(h.upper+path, 0o700)) // so that it can be removed
			}
		})
	})
}

// If the user cannot read parts of the lower, the rest of the list is right, and a note says what
// is not known.
func TestUnreadableLowerAsUser(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, true, func(t *testing.T) {
		h := newHandMade(t)
		h.file(h.lower+"/closed/f", "x")
		h.file(h.lower+"/secret", "abc")
		h.file(h.lower+"/open", "x")
		h.file(h.upper+"/closed/f", "y")
		h.file(h.upper+"/secret", "abc")
		h.file(h.upper+"/open", "yy")
		h.check(os.Chmod(h.lower+"/closed", 0))
		h.check(os.Chmod(h.lower+"/secret", 0))
		h.check(os.Chmod(h.upper+"/secret", 0))
		got, notes := h.lines()
		h.check(os.Chmod(h.lower+"/closed", 0o700)) // so that it can be removed
		if diff := cmp.Diff([]string{"~ closed", "+ closed/f", "~ open"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if len(notes) != 2 || !strings.Contains(notes[0]+notes[1], "/w/closed") || !strings.Contains(notes[0]+notes[1], "/w/secret") {
			t.Errorf("notes = %q, want one each about closed and secret", notes)
		}
	})
}

// DIF6: if nothing was moved, the lower is not listed. The right to search is enough, and that is
// all that users have for /home on many machines.
func TestLowerThatMayOnlyBeSearchedAsUser(t *testing.T) {
	t.Parallel()
	viewtest.InNamespace(t, true, func(t *testing.T) {
		h := newHandMade(t)
		h.file(h.lower+"/home/me/f", "x")
		h.file(h.lower+"/home/me/g", "x")
		h.file(h.upper+"/home/me/f", "yy")
		h.file(h.upper+"/home/me/new", "x")
		h.file(h.upper+"/home/me/g", "")
		h.mark(h.upper+"/home/me/g", "whiteout", "")
		for _, path := range []string{"/home/me", "/home", ""} {
			h.check(os.Chmod(h.lower+path, 0o311))
			h.check(os.Chmod(h.upper+path, 0o311))
		}
		h.want("~ home/me/f", "- home/me/g", "+ home/me/new")
		h.mark(h.upper+"/home/me", "opaque", "y") // now it must be listed
		h.check(os.Chmod(h.upper, 0o700))
		got, notes := h.lines()
		if diff := cmp.Diff([]string{"~ /w", "~ home/me/f", "- home/me/g", "+ home/me/new"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if len(notes) != 1 || !strings.Contains(notes[0], "/w/home/me") {
			t.Errorf("notes = %q, want one about /w/home/me", notes)
		}
		for _, path := range []string{"", "/home", "/home/me"} { // so that they can be removed
			h.check(os.Chmod(h.lower+path, 0o700))
			h.check(os.Chmod(h.upper+path, 0o700))
		}
	})
}
