package plain

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestHash(t *testing.T) { // REC5
	for n := range 200 {
		s := strings.Repeat("x", n)
		sum := sha256.Sum256([]byte(s))
		if got, want := Hash(s), binary.BigEndian.Uint64(sum[:8]); got != want {
			t.Fatalf("Hash of %d bytes = %x, want %x", n, got, want)
		}
	}
}

func TestTime(t *testing.T) { // TRC4
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns"))
		b := Growing(nil)
		if got, want := b.Time(at.Unix(), int64(at.Nanosecond())).String(), at.UTC().Format("2006-01-02T15:04:05.000000000Z07:00"); got != want {
			t.Fatalf("Time = %s, want %s", got, want)
		}
	})
}

func TestIDs(t *testing.T) { // TRC4
	form := regexp.MustCompile(`^spn_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$`)
	now := time.Now()
	tick := Tick(now.Unix(), int64(now.Nanosecond()))
	last := ""
	for i, random := range []uint64{1 << 63, ^uint64(0), 0} {
		id := NewID(SpanPrefix, tick+uint64(i), random)
		if !form.MatchString(id) || id <= last {
			t.Errorf("id %s after %s", id, last)
		}
		last = id
	}
}

func TestBase64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		b := Growing(nil)
		if got, want := b.Base64(string(raw)).String(), base64.StdEncoding.EncodeToString(raw); got != want {
			t.Fatalf("Base64(%q) = %s, want %s", raw, got, want)
		}
	})
}

func TestFixedBuffer(t *testing.T) {
	b := Fixed(make([]byte, 4))
	if b.Raw("abc").Raw("de").Byte('f').String() != "abcf" || !b.Full {
		t.Errorf("buffer %q, full %v", b.String(), b.Full)
	}
	if b.Reset(2); b.Full || *b.CString() != 'a' || b.Bytes[:3][2] != 0 {
		t.Errorf("buffer %q, full %v", b.Bytes[:3], b.Full)
	}
}

func TestQuote(t *testing.T) {
	for want, words := range map[string][]string{
		"./a.sh -x b=c": {"./a.sh", "-x", "b=c"}, `'' 'a b' '$x' 'it'\''s' '~'`: {"", "a b", "$x", "it's", "~"},
	} {
		if got := Quoted(words); got != want {
			t.Errorf("Quoted(%q) = %s, want %s", words, got, want)
		}
	}
}

func TestLastNames(t *testing.T) { // SHM6
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "bc"}), 1, 12).Draw(t, "names")
		want := strings.Join(names[max(0, len(names)-MaxCallStack):], "/")
		if got := LastNames(strings.Join(names, "/"), MaxCallStack); got != want {
			t.Fatalf("LastNames(%q) = %q, want %q", names, got, want)
		}
	})
}

func TestCompareVersions(t *testing.T) {
	sorted := []string{
		"0.1-alpha", "0.1-alpha.1", "0.1-beta", "0.1", "0.1.0-dev", "0.1.0", "0.1.2-rc.2", "0.1.2-rc.11", "0.1.2", "0.1.10", "0.2.0", "1.0.0", "dev",
	}
	for i, a := range sorted {
		for j, b := range sorted {
			got := CompareVersions(a, b)
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("CompareVersions(%q, %q) = %d", a, b, got)
			}
		}
	}
	if CompareVersions("1.0+a", "1.0+b") != 0 {
		t.Error("what follows + counts")
	}
}

func TestNewer(t *testing.T) { // SHM3
	b := Growing(nil)
	stamp := b.Stamp("0.1.2", File{Dev: 1, Ino: 2, Size: 3, Mtime: -4, Path: "/a:b/substrate-shim"}).String()
	for _, test := range []struct{ stamp, version, path, want string }{
		{stamp, "0.1.1", "/x", "/a:b/substrate-shim"},
		{stamp, "0.1.2", "/x", "/a:b/substrate-shim"},
		{stamp, "0.1.3", "/x", ""},
		{stamp, "0.1.1", "/a:b/substrate-shim", ""},
		{"0.1.2:1:2:3", "0.1.1", "/x", ""},
		{"", "0.1.1", "/x", ""},
	} {
		if got := Newer(test.stamp, test.version, test.path); got != test.want {
			t.Errorf("Newer(%q, %q, %q) = %q, want %q", test.stamp, test.version, test.path, got, test.want)
		}
	}
}

// plainShimsFirst is what ShimsFirst does, in other words.
func plainShimsFirst(path, dir string) (first, original string) {
	entries := slices.DeleteFunc(strings.Split(path, ":"), func(e string) bool { return e != "" && strings.TrimRight(e, "/") == dir })
	if original = strings.Join(entries, ":"); len(entries) == 0 {
		return dir, ""
	}
	return dir + ":" + original, original
}

func TestShimsFirst(t *testing.T) { // SHM7
	rapid.Check(t, func(t *rapid.T) {
		const dir = "/s/shims"
		entry := rapid.SampledFrom([]string{"", "/bin", dir, dir + "/", dir + "//", "/s", dir + "x", "x" + dir, "//"})
		path := strings.Join(rapid.SliceOfN(entry, 0, 6).Draw(t, "path"), ":")
		first, rest := Growing(nil), Growing(nil)
		original, ok := ShimsFirst(path, dir, &first, &rest)
		wantFirst, wantOriginal := plainShimsFirst(path, dir)
		if path == "" {
			wantFirst, wantOriginal = "", ""
		}
		if original != wantOriginal || ok != (path != "") || first.String() != wantFirst {
			t.Fatalf("ShimsFirst(%q) = %q, %v, %q; want %q, %q", path, original, ok, first.String(), wantOriginal, wantFirst)
		}
	})
}

func BenchmarkHash(b *testing.B) {
	s := strings.Repeat("x", 40)
	for b.Loop() {
		Hash(s)
	}
}

func TestOption(t *testing.T) {
	for word, want := range map[string]struct {
		takes int
		long  bool
	}{
		"--rcfile": {1, true}, "-rcfile": {1, true}, "--norc": {0, true}, "-norc": {0, true}, "--no": {0, false}, "-c": {0, false}, "-eo": {1, false}, "+oO": {2, false},
		"+norc": {1, false}, "-": {0, false},
	} {
		if takes, long := Option(word); takes != want.takes || long != want.long {
			t.Errorf("Option(%s) = %d, %v, want %v", word, takes, long, want)
		}
	}
}
