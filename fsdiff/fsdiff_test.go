package fsdiff

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// add is a change as a test writes it.
type add struct {
	path string
	kind Kind
}

func build(root string, max int, adds ...add) *Diff {
	b := New(root, "overlay", max)
	for _, a := range adds {
		b.Add(a.path, a.kind, Meta{FileType: File, Mode: "0644"}, nil)
	}
	return b.Finish()
}

func paths(d *Diff) []string {
	var got []string
	for i := range d.Entries {
		got = append(got, d.Entries[i].Path)
	}
	return got
}

// DIF1: relative below the root, absolute elsewhere, sorted by bytes.
func TestPaths(t *testing.T) {
	tests := []struct {
		root string
		in   []string
		want []string
	}{
		{"/w", []string{"/w/b", "/w/a/c", "/w/a", "/w/a-b", "/wx", "/w", "/etc/x"}, []string{"/etc/x", "/w", "/wx", "a", "a-b", "a/c", "b"}},
		{"/w/", []string{"/w/b"}, []string{"b"}},
		{"/", []string{"/b", "/a/c", "/"}, []string{"/", "a/c", "b"}},
		{"/w", []string{"/w/é", "/w/z", "/w/\xff", "/w/😀"}, []string{"z", "é", "😀", "\ufffd"}},
	}
	for _, tt := range tests {
		var adds []add
		for _, p := range tt.in {
			adds = append(adds, add{p, Create})
		}
		if diff := cmp.Diff(tt.want, paths(build(tt.root, 0, adds...))); diff != "" {
			t.Errorf("New(%q).Add(%q) (-want +got):\n%s", tt.root, tt.in, diff)
		}
	}
}

// DIF1: path_b64 is the base64 of the same, relative path's bytes.
func TestPathNotUTF8(t *testing.T) {
	d := build("/w", 0, add{"/w/d/a\xff\xfe", Create}, add{"/x\xff", Delete})
	want := []struct{ path, b64, raw string }{
		{"/x\ufffd", "L3j/", "/x\xff"},
		{"d/a\ufffd\ufffd", "ZC9h//4=", "d/a\xff\xfe"},
	}
	for i, w := range want {
		if e := &d.Entries[i]; e.Path != w.path || e.PathB64 != w.b64 || e.Raw() != w.raw {
			t.Errorf("entry %d = %q, %q, Raw %q, want %+q", i, e.Path, e.PathB64, e.Raw(), w)
		}
	}
	if d := build("/r\xff", 0, add{"/r\xff/a", Create}); d.RootB64 != "L3L/" || d.Entries[0].Path != "a" {
		t.Errorf("root of bytes: %+v", d)
	}
}

// DIF2: the list is cut, the counts are not, and the order of Add does not matter.
func TestLimit(t *testing.T) {
	var adds []add
	for i := range 5000 {
		adds = append(adds, add{fmt.Sprintf("/w/%05d", i), []Kind{Create, Modify, Delete, TypeChange, Create}[i%5]})
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(adds), func(i, j int) { adds[i], adds[j] = adds[j], adds[i] })
	d := build("/w", 3, adds...)
	if diff := cmp.Diff([]string{"00000", "00001", "00002"}, paths(d)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if want := (Counts{2000, 1000, 1000, 1000}); d.Counts != want || !d.Truncated || d.Counts.Total() != 5000 {
		t.Errorf("counts = %+v, truncated %v, want %+v, true", d.Counts, d.Truncated, want)
	}
	if want := "2000 created, 1000 modified, 1000 deleted, 1000 type changed (only the first 3 are listed)"; d.Summary != want {
		t.Errorf("Summary = %q, want %q", d.Summary, want)
	}
	if d := build("/w", 5000, adds...); d.Truncated || len(d.Entries) != 5000 {
		t.Errorf("a list of exactly the limit: truncated %v, %d entries", d.Truncated, len(d.Entries))
	}
	if d := build("/w", 0); d.Truncated || d.Entries == nil || d.Summary != "no changes" {
		t.Errorf("an empty Diff = %+v", d)
	}
}

// RPL6: an entry is one line that cannot move the cursor and loses nothing.
func TestLine(t *testing.T) {
	tests := []struct {
		kind Kind
		path string
		want string
	}{
		{Create, "/w/demo", "  + demo"},
		{Modify, "/etc/hosts", "  ~ /etc/hosts"},
		{Delete, "/w/a b", "  - a b"},
		{TypeChange, "/w/-x", "  ! -x"},
		{Create, "/w/new\nline\x1b[2J", `  + new\nline\x1b[2J`},
		{Create, "/w/\xff\xc3", `  + \xff\xc3`},
		{Create, "/w/back\\slash", `  + back\\slash`},
		{Create, "/w/'\"😀é", `  + '"😀é`},
		{Create, "/w/\u202etxt\u0085", `  + \u202etxt\u0085`},
		{Create, "/w/\ufffd", "  + \ufffd"},
	}
	for _, tt := range tests {
		d := build("/w", 0, add{tt.path, tt.kind})
		if got := Line(&d.Entries[0]); got != tt.want {
			t.Errorf("Line(%q) = %q, want %q", tt.path, got, tt.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "a b", "\n\x1b\x00\x7f", "\xff\ufffd", `"'\`, "\u202e😀", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := Escape(s)
		if got, err := Unescape(e); err != nil || got != s {
			t.Errorf("Unescape(Escape(%q)) = %q, %v", s, got, err)
		}
		if strings.ContainsFunc(e, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 }) {
			t.Errorf("Escape(%q) = %q has a control character", s, e)
		}
	})
}

// FuzzRoundTrip proves that JSON loses nothing of a Diff, whatever bytes the names have.
func FuzzRoundTrip(f *testing.F) {
	f.Add("/w", "/w/a", "target", "create", int64(3), uint32(1), "2024-02-03T04:05:06.000000007Z", false)
	f.Add("/w\xff", "/w\xff/\xfe\n", "\xfd", "modify", int64(-1), uint32(1<<31), "", true)
	f.Fuzz(func(t *testing.T, root, path, target, kind string, size int64, id uint32, mtime string, change bool) {
		if strings.ToValidUTF8(kind+mtime, "") != kind+mtime {
			t.Skip("not made here")
		}
		m := Meta{FileType: Symlink, Mode: "0777", UID: id, GID: id / 2, Size: size, Mtime: mtime}
		m.SetTarget(target)
		var before *Meta
		if change {
			before = &m
		}
		b := New(root, "overlay", 0)
		b.Add(path, Kind(kind), m, before)
		d := b.Finish()
		text, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var got Diff
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("Unmarshal(%s): %v", text, err)
		}
		if diff := cmp.Diff(d, &got); diff != "" {
			t.Errorf("after JSON (-want +got):\n%s", diff)
		}
		e := &got.Entries[0]
		if raw := e.Raw(); raw != path && strings.TrimRight(root, "/")+"/"+raw != path {
			t.Errorf("Raw() = %q of path %q below %q", raw, path, root)
		}
		if e.Target() != target {
			t.Errorf("Target() = %q, want %q", e.Target(), target)
		}
	})
}
