//go:build linux || darwin

package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"substrate/internal/plain"
)

// trafficLines returns the text of n spans with foreign lines between them, and all ids.
func trafficLines(rng *rand.Rand, n int) (text []byte, ids []string) {
	odd := []string{
		"\n", "plain text\n", `{"cmd":"to` + "\n", `{"span_id":"odd` + fmt.Sprint(n) + `","cmd":"foreign","exit":1}` + "\n", "[1]\n", "{}\n",
		`{"trace_schema_version":1,"ts":"` + "\n", `{"cmd":"\"span_id\":\"spn_0\""}` + "\n",
	}
	for range n {
		r := &Record{
			TraceSchemaVersion: 1, TS: "2025-09-10T02:20:33.000000001Z", EventType: EventStart, SessionID: "ses_" + strings.Repeat(string('a'+rune(rng.IntN(3))), 32),
			Component: ComponentShell, SpanID: NewSpanID(), Cmd: strings.Repeat("x", rng.IntN(200)), Cwd: "/", AgentID: "human", Host: "h", PID: 1,
		}
		ids = append(ids, r.SpanID)
		if rng.IntN(20) > 0 {
			text = append(AppendJSON(text, r), '\n')
		}
		r.EventType, r.Completion = EventComplete, &Completion{ScopesUsed: []string{}, DegradedComponents: []string{}}
		if rng.IntN(20) > 0 {
			text = append(AppendJSON(text, r), '\n')
		}
		if rng.IntN(5) == 0 {
			text = append(text, odd[rng.IntN(len(odd))]...)
		}
	}
	return text, append(ids, "odd"+fmt.Sprint(n))
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// answer returns the result of Find as text that can be compared.
func answer(r *Reader, ref string) string {
	span, err := r.Find(ref)
	if err != nil {
		return err.Error()
	}
	text := ""
	for _, line := range []*Record{span.Start, span.Complete} {
		if line != nil {
			text += string(AppendJSON(nil, line))
		}
		text += "\n"
	}
	return text
}

// agree compares a reader that uses indexes with one that reads all lines.
func agree(t testing.TB, path string, refs []string) {
	t.Helper()
	indexed, plain := &Reader{Path: path, indexMin: 1, patience: 1}, &Reader{Path: path, indexMin: 1 << 60, patience: 1}
	for _, ref := range refs {
		if got, want := answer(indexed, ref), answer(plain, ref); got != want {
			t.Fatalf("Find(%q) with an index:\n%.2000s\nwithout:\n%.2000s", ref, got, want)
		}
	}
}

// refsOf returns whole ids, prefixes, and refs that match nothing.
func refsOf(rng *rand.Rand, ids []string) []string {
	refs := []string{"last", "last~3", "", "s", "spn_", "spn_0", "0", "o", "x", "spn_0g", `"`, "spn_" + strings.Repeat("0", 32), "spn_" + strings.Repeat("0", 33)}
	for range 4 {
		id := ids[rng.IntN(len(ids))]
		refs = append(refs, id, id[:len(id)-rng.IntN(min(len(id), 20))], strings.TrimPrefix(id, "spn_"))
	}
	return refs
}

// TRC9, TRC3: a reader gives the same answers with and without an index, while files grow and
// rotate.
func TestIndexAgrees(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	var all []string
	for round := range 8 {
		text, ids := trafficLines(rng, 40+rng.IntN(100))
		all = append(all, ids...)
		if rng.IntN(4) == 0 {
			if err := shift(path, 3); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.Write(text[:len(text)-(round%4/3)*rng.IntN(100)]) // at times torn
		}
		if err != nil || f.Close() != nil {
			t.Fatal(round, err)
		}
		agree(t, path, refsOf(rng, all))
	}
	st, err := os.Stat(path + indexSuffix)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("index %v, %v, want one of mode 0600", st, err)
	}
}

// TRC9: the index is used, not only written: it covers the whole file and leads to few lines.
func TestIndexIsUsed(t *testing.T) {
	path, ids, _ := indexedTrace(t)
	src, err := openSource(path)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, m := range []match{matchID(ids[7]), matchPrefix(ids[7][4:30])} {
		if found := readIndex(src, m); found.covered != src.size || len(found.hits) < 1 || len(found.hits) > 2 {
			t.Errorf("readIndex = %d hits, %d of %d bytes covered", len(found.hits), found.covered, src.size)
		}
	}
	session := match{session: "ses_" + strings.Repeat("b", 32)}
	if found := readIndex(src, session); len(found.hits) == 0 || len(found.hits) > 150 {
		t.Errorf("%d hits for one session of three", len(found.hits))
	}
}

// indexedTrace makes a trace with an index that covers it.
func indexedTrace(t testing.TB) (path string, ids []string, index []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "trace.jsonl")
	text, ids := trafficLines(rand.New(rand.NewPCG(5, 6)), 100)
	write(t, path, text)
	if _, err := (&Reader{Path: path, indexMin: 1, patience: 1}).Find(ids[0]); err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(path + indexSuffix)
	if err != nil {
		t.Fatal(err)
	}
	return path, ids, index
}

// TRC9: a damaged, foreign, forged or missing index costs time and changes no answer.
func TestIndexIsNotTrusted(t *testing.T) {
	path, ids, good := indexedTrace(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	idx := path + indexSuffix
	flip := func() {
		bad := bytes.Clone(good)
		bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
		write(t, idx, bad)
	}
	damages := map[string]func(){
		"cut":       func() { write(t, idx, good[:rng.IntN(len(good))]) },
		"flipped":   flip,
		"garbage":   func() { write(t, idx, bytes.Repeat([]byte("x"), rng.IntN(5000))) },
		"tail":      func() { write(t, idx, append(bytes.Clone(good), "torn segment"...)) },
		"forged":    func() { write(t, idx, forge(good, rng)) },
		"directory": func() { _ = os.Remove(idx); _ = os.Mkdir(idx, 0o700) },
		"link":      func() { _ = os.Remove(idx); _ = os.Symlink(path, idx) },
		"fifo":      func() { _ = os.Remove(idx); _ = syscall.Mkfifo(idx, 0o600) },
		"writable":  func() { write(t, idx, forge(good, rng)); _ = os.Chmod(idx, 0o622) },
		"edited": func() { // the trace was edited in place, so that lines moved
			write(t, idx, good)
			write(t, path, bytes.Replace(text, []byte(`"cmd":"x`), []byte(`"cmd":"`), 200))
		},
		"truncated": func() { write(t, idx, good); write(t, path, text[:len(text)/2]) },
		"replaced":  func() { write(t, idx, good); _ = os.Remove(path); write(t, path, text[len(text)/3:]) },
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range damages {
			if !yield(name) {
				return
			}
		}
	}) {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				_ = os.RemoveAll(idx)
				write(t, path, text)
				damages[name]()
				agree(t, path, refsOf(rng, ids))
			}
		})
	}
}

// forge returns an index with correct checksums, whose entries name wrong spans or join lines.
func forge(good []byte, rng *rand.Rand) []byte {
	bad := bytes.Clone(good)
	segment := bad[headerSize:]
	lines := int(binary.LittleEndian.Uint32(segment[16:]))
	for range 1 + rng.IntN(20) {
		e := segment[segmentSize+rng.IntN(lines-1)*entrySize:]
		switch rng.IntN(3) {
		case 0: // another id
			e[rng.IntN(16)] ^= 1
		case 1: // the length of the next line
			a, b := binary.LittleEndian.Uint32(e[16:]), binary.LittleEndian.Uint32(e[16+entrySize:])
			binary.LittleEndian.PutUint32(e[16:], a+b-1)
			binary.LittleEndian.PutUint32(e[16+entrySize:], 1)
		case 2:
			e[20] ^= flagUUID
		}
	}
	binary.LittleEndian.PutUint32(segment[20:], segmentSum(segment[:segmentSize+lines*entrySize]))
	return bad
}

// An entry matches the same ids as strings.HasPrefix.
func TestEntryMatches(t *testing.T) {
	ids := []string{"spn_01a2b3c4d5e67f8091a2b3c4d5e6f708", "spn_01a2b3c4d5e67f8091a2b3c4d5e6f709", "odd", "spn_x", "spn_0", "", "a very long id of another program"}
	refs := []string{"s", "spn_", "spn_0", "spn_01a2b3c4d5e67f8091a2b3c4d5e6f708", "01a", "01a2", "01A2", "o", "odd", "oddx", "a very long id of another program!", "x", "spn_x"}
	for _, id := range ids {
		e := entry(appendEntry(nil, AppendJSON(nil, &Record{TraceSchemaVersion: 1, SpanID: id})))
		for _, ref := range refs {
			long := len(id) > 16 && !strings.HasPrefix(id, plain.SpanPrefix) // the entry holds only its beginning
			want := strings.HasPrefix(id, ref) || strings.HasPrefix(id, plain.SpanPrefix+ref) || long && strings.HasPrefix(ref, id[:16])
			if got := matchPrefix(ref).entry(e); got != want {
				t.Errorf("matchPrefix(%q) for %q = %v, want %v", ref, id, got, want)
			}
			if id == ref && !matchID(ref).entry(e) {
				t.Errorf("matchID(%q) does not fit itself", ref)
			}
		}
	}
}

// FuzzIndex: whatever the trace and the index contain, a reader finds the same for an id with and
// without the index. Prefixes may differ for lines with two span ids or with escapes in one, which
// nobody writes.
func FuzzIndex(f *testing.F) {
	text, ids := trafficLines(rand.New(rand.NewPCG(1, 1)), 3)
	entries := make([]byte, segmentSize)
	for line := range bytes.Lines(text) {
		entries = appendEntry(entries, bytes.TrimSuffix(line, []byte{'\n'}))
	}
	binary.LittleEndian.PutUint64(entries[8:], uint64(len(text)))
	binary.LittleEndian.PutUint32(entries[16:], uint32((len(entries)-segmentSize)/entrySize))
	binary.LittleEndian.PutUint32(entries[20:], segmentSum(entries))
	f.Add(text, append(make([]byte, headerSize), entries...), ids[0])
	f.Add([]byte("\n\n{\n"), []byte(indexMagic), "last")
	f.Fuzz(func(t *testing.T, text, index []byte, ref string) {
		path := filepath.Join(t.TempDir(), "trace.jsonl")
		write(t, path, text)
		src, err := openSource(path)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := header(src); err == nil && len(index) > headerSize {
			copy(index, h) // so that the segments are read
		}
		if err := src.Close(); err != nil {
			t.Fatal(err)
		}
		write(t, path+indexSuffix, index)
		for _, ref := range []string{ref, ref, "last", "last~1"} {
			indexed, plain := &Reader{Path: path, indexMin: 1, patience: 1}, &Reader{Path: path, indexMin: 1 << 60, patience: 1}
			span, err := plain.Find(ref)
			if got, want := answer(indexed, ref), answer(plain, ref); got != want && err == nil && (span.ID() == ref || strings.HasPrefix(ref, "last")) {
				t.Fatalf("Find(%q) with an index:\n%.2000s\nwithout:\n%.2000s", ref, got, want)
			}
		}
	})
}
