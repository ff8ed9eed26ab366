package record

import "testing"

func TestQuote(t *testing.T) {
	for want, words := range map[string][]string{
		"./a.sh -x b=c": {"./a.sh", "-x", "b=c"}, `'' 'a b' '$x' 'it'\''s' '~'`: {"", "a b", "$x", "it's", "~"},
	} {
		if got := Quote(words); got != want {
			t.Errorf("Quote(%q) = %s, want %s", words, got, want)
		}
	}
}
