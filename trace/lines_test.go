package trace

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Both readers see the same lines as bytes.Split, also if lines are longer than a block, end with a
// block, or are empty.
func TestForwardAndBackwardAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	texts := []string{"", "\n", "\n\n", "a", "a\n", "\na\n", "a\nb", strings.Repeat("x", blockSize), strings.Repeat("x", blockSize-1) + "\nb\n"}
	for range 40 {
		var b strings.Builder
		for range rng.IntN(6) {
			b.WriteString(strings.Repeat("x", rng.IntN(2)*(blockSize-2+rng.IntN(4))+rng.IntN(2)*3*blockSize+rng.IntN(5)))
			b.WriteString(strings.Repeat("\n", rng.IntN(3)))
		}
		texts = append(texts, b.String())
	}
	for i, text := range texts {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := openSource(path)
		if err != nil {
			t.Fatal(err)
		}
		want := splitLines(text)
		ahead := allLines(t, (&forward{src: src}).next)
		if !slices.EqualFunc(ahead, want, sameLine) {
			t.Errorf("text %d: forward gives %d lines, want %d", i, len(ahead), len(want))
		}
		slices.Reverse(want)
		back := allLines(t, (&backward{src: src}).next)
		if !slices.EqualFunc(back, want, sameLine) {
			t.Errorf("text %d: backward gives %d lines, want %d", i, len(back), len(want))
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

func allLines(t *testing.T, next func() (line, error)) (all []line) {
	t.Helper()
	for {
		l, err := next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		l.text = bytes.Clone(l.text)
		all = append(all, l)
	}
}

func splitLines(text string) (all []line) {
	offset := 0
	for part := range strings.SplitAfterSeq(text, "\n") {
		if part == "" {
			continue
		}
		body, whole := strings.CutSuffix(part, "\n")
		all = append(all, line{text: []byte(body), offset: int64(offset), whole: whole})
		offset += len(part)
	}
	return all
}

func sameLine(a, b line) bool {
	return bytes.Equal(a.text, b.text) && a.offset == b.offset && a.whole == b.whole
}

func TestHasSpanID(t *testing.T) {
	for text, want := range map[string]bool{
		`{"span_id":"spn_01"}`:                        true,
		`{"span_id" : "spn_012"}`:                     true,
		`{"cmd":"\"span_id\":\"spn_01\""}`:            false,
		`{"argv":["span_id","spn_01"]}`:               false,
		`{"parent_span":"spn_01","span_id":"spn_02"}`: false,
		`{"span_id":7}`:                               false,
		`{"span_id"`:                                  false,
	} {
		if got := hasSpanID([]byte(text), []byte("spn_01")); got != want {
			t.Errorf("hasSpanID(%s) = %v, want %v", text, got, want)
		}
	}
}
