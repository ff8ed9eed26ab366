// Package redact finds secrets in commands and takes them out.
//
// [MayHold] is a quick look, and the end of the search for nearly every command. It can be called
// before the Go runtime has started. A [Redactor] asks all the rules: shapes of well-known tokens
// (shapes.go), values of names that say so (names.go), passwords in URLs, and the flags of programs
// that take one (programs.go). What it finds is replaced by ‹secret:N›, and [Restore] puts it back.
//
// The rules look at text, not at what a shell would make of it. When in doubt they take a value
// out, because nothing is lost by that. Package vault keeps the values.
//
// The rules are written by hand: gitleaks as a library takes 36 ms to start and needs 62 modules.
package redact

import (
	"sort"
	"strconv"
	"strings"
)

// A placeholder is open, a number from 1 on, shut.
const (
	open = "‹secret:"
	shut = "›"
)

// Distinctive reports whether a value that was found once can be replaced wherever it stands. Short
// values are parts of ordinary words, and some, such as the password postgres, are one. It may be
// called before the Go runtime has started.
func Distinctive(value string) bool {
	const short, word = 8, 12
	if len(value) < short || len(value) >= word {
		return len(value) >= word
	}
	for i := range len(value) {
		if !letter(value[i]) {
			return true
		}
	}
	return false
}

// Redactor takes the secrets out of the strings of one span. The same value has the same number in
// all of them. The zero value is ready; it must not be used by two goroutines at once.
type Redactor struct {
	values  []string
	number  map[string]int
	suspect []string // values that are none yet, because they were not found
}

// Values are the secrets that were taken out so far: the first is that of ‹secret:1›.
func (r *Redactor) Values() []string { return r.values }

// Variables adds the values of variables whose names suggest a secret: they are replaced wherever
// they are found, because a shell may have put one in the place of $NAME. env has the form of
// os.Environ. Paths, and values that are too short or too common, are left alone.
func (r *Redactor) Variables(env []string) {
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		if !SecretName(name) || !Distinctive(value) || value[0] == '/' || reference(value) {
			continue
		}
		if rank := rankOf(name); rank == innocent || rank == weak && !entropic(value) {
			continue
		}
		r.suspect = append(r.suspect, value)
	}
}

// Text takes the secrets out of a command line, a script, or any other text.
func (r *Redactor) Text(s string) string {
	if !MayHold(s) && !r.repeats(s) {
		return s
	}
	f := finder{s: s}
	f.text()
	return r.replace(s, f.spans)
}

// Words takes the secrets out of an argv, in which one word says what the next is. The slice words
// is not changed, and is the result if no word holds a secret.
func (r *Redactor) Words(words []string) []string {
	var hints Hints
	repeats := false
	for _, w := range words {
		hints |= HintsOf(w)
		repeats = repeats || r.repeats(w)
	}
	if !hints.MayHold() && !repeats {
		return words
	}
	finders := make([]finder, len(words))
	tokens := make([]token, len(words))
	for i, w := range words {
		finders[i] = finder{s: w, word: i == 0 || !script(words[i-1])}
		finders[i].text()
		tokens[i] = token{text: w, from: 0, to: len(w), in: &finders[i]}
	}
	command(tokens)
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = r.replace(w, finders[i].spans)
	}
	return out
}

// script reports whether a word is an option, alone or in a cluster, whose value is a script.
func script(option string) bool {
	return len(option) > 1 && option[0] == '-' && option[1] != '-' && option[len(option)-1] == 'c'
}

// repeats reports whether s holds a value that was taken out before.
func (r *Redactor) repeats(s string) bool {
	for _, v := range r.values {
		if Distinctive(v) && strings.Contains(s, v) {
			return true
		}
	}
	for _, v := range r.suspect {
		if strings.Contains(s, v) {
			return true
		}
	}
	return false
}

// replace writes placeholders for the spans of s, and for known values between them.
func (r *Redactor) replace(s string, spans []span) string {
	spans = union(spans)
	for _, sp := range spans {
		r.note(s[sp.from:sp.to])
	}
	for _, v := range r.suspect {
		if strings.Contains(s, v) {
			r.note(v)
		}
	}
	var b strings.Builder
	done := 0
	for _, sp := range spans {
		r.known(&b, s[done:sp.from])
		r.placeholder(&b, s[sp.from:sp.to])
		done = sp.to
	}
	r.known(&b, s[done:])
	return b.String()
}

// note gives a value its number.
func (r *Redactor) note(value string) {
	if r.number == nil {
		r.number = make(map[string]int)
	}
	if r.number[value] == 0 {
		r.values = append(r.values, value)
		r.number[value] = len(r.values)
	}
}

// placeholder writes what stands for a value.
func (r *Redactor) placeholder(b *strings.Builder, value string) {
	b.WriteString(open + strconv.Itoa(r.number[value]) + shut)
}

// known writes s, with each numbered value replaced, the longest first.
func (r *Redactor) known(b *strings.Builder, s string) {
	first, value := len(s), ""
	for _, v := range r.values {
		if !Distinctive(v) {
			continue
		}
		if i := strings.Index(s, v); i >= 0 && (i < first || i == first && len(v) > len(value)) {
			first, value = i, v
		}
	}
	b.WriteString(s[:first])
	if value != "" {
		r.placeholder(b, value)
		r.known(b, s[first+len(value):])
	}
}

// span is a part of a string.
type span struct{ from, to int }

// union sorts spans and joins those that overlap. Empty ones are dropped.
func union(spans []span) []span {
	sort.Slice(spans, func(i, j int) bool { return spans[i].from < spans[j].from })
	out := spans[:0]
	for _, sp := range spans {
		switch last := len(out) - 1; {
		case sp.from >= sp.to:
		case last >= 0 && sp.from < out[last].to:
			out[last].to = max(out[last].to, sp.to)
		default:
			out = append(out, sp)
		}
	}
	return out
}

// finder collects the secrets of one string.
type finder struct {
	s     string
	word  bool // s is one word of an argv: quotes in it are its own
	spans []span
}

// add notes that s[from:to] is a secret.
func (f *finder) add(from, to int) { f.spans = append(f.spans, span{from, to}) }

// text applies every rule.
func (f *finder) text() {
	f.placeholders()
	f.shapes()
	f.urls()
	f.names()
	f.commands(0, len(f.s), 0)
}

// placeholders finds text that looks like one of ours. It becomes a value like any other, so that a
// replay gives it back.
func (f *finder) placeholders() {
	for i := 0; ; {
		n := strings.Index(f.s[i:], open)
		if n < 0 {
			return
		}
		i += n
		if end := placeholderEnd(f.s, i); end > 0 {
			f.add(i, end)
			i = end
		} else {
			i += len(open)
		}
	}
}

// placeholderEnd is where the placeholder that begins at i ends; 0 if there is none.
func placeholderEnd(s string, i int) int {
	j := i + len(open)
	digits := j
	for j < len(s) && s[j] >= '0' && s[j] <= '9' {
		j++
	}
	if j == digits || !strings.HasPrefix(s[j:], shut) {
		return 0
	}
	return j + len(shut)
}

// Restore puts the values back into a string that a [Redactor] made. If a value is missing, missing
// is the placeholder that it belongs to.
func Restore(s string, values map[int]string) (text, missing string) {
	if !strings.Contains(s, open) {
		return s, ""
	}
	var b strings.Builder
	for {
		i := strings.Index(s, open)
		if i < 0 {
			b.WriteString(s)
			return b.String(), missing
		}
		end := placeholderEnd(s, i)
		if end == 0 {
			end = i + len(open)
			b.WriteString(s[:end])
			s = s[end:]
			continue
		}
		b.WriteString(s[:i])
		n, _ := strconv.Atoi(s[i+len(open) : end-len(shut)]) // 0, which no value has, if it is too big
		value, ok := values[n]
		if !ok && missing == "" {
			missing = s[i:end]
		}
		b.WriteString(value)
		s = s[end:]
	}
}
