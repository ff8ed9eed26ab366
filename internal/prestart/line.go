package prestart

import (
	"unicode/utf8"
	"unsafe"

	"substrate/internal/redact"
)

const (
	maxLine = 160 << 10 // bytes of a line: a command has at most 128 KiB (MAX_ARG_STRLEN)
	// lineHead is the room in front of what a span's two lines have in common.
	lineHead = 128
)

// line is the text of one line, made as package trace makes it. What that would write
// differently sets odd: bytes that are not UTF-8, and what does not fit.
type line struct {
	n   int
	odd bool
	buf [maxLine]byte
}

const hexDigits = "0123456789abcdef"

func (l *line) byte(c byte) {
	if uint(l.n) >= uint(len(l.buf)) {
		l.odd = true
		return
	}
	l.buf[l.n] = c
	l.n++
}

// raw appends s as it is.
func (l *line) raw(s string) {
	if len(s) > len(l.buf)-l.n {
		l.odd = true
		return
	}
	for i := range len(s) { // copy would call into another part of the program
		l.buf[l.n+i] = s[i]
	}
	l.n += len(s)
}

// text appends s as a JSON string.
func (l *line) text(s string) {
	l.byte('"')
	l.escaped(s)
	l.byte('"')
}

// escaped appends s as a part of a JSON string. U+2028 and U+2029 are escaped as well.
//
// Source: RFC 8259, section 7; trace.AppendJSON.
func (l *line) escaped(s string) {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			i += l.rune(s[i:])
			continue
		case c >= ' ' && c != '"' && c != '\\':
			l.byte(c)
		default:
			l.escape(c)
		}
		i++
	}
}

// rune appends the first character of s, which is none of ASCII, and gives its length.
func (l *line) rune(s string) int {
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case r == utf8.RuneError && size == 1:
		l.odd = true
	case r == '\u2028':
		l.raw(`\u2028`)
	case r == '\u2029':
		l.raw(`\u2029`)
	default:
		l.raw(s[:size])
	}
	return size
}

func (l *line) escape(c byte) {
	l.byte('\\')
	switch c {
	case '"', '\\':
		l.byte(c)
	case '\n':
		l.byte('n')
	case '\t':
		l.byte('t')
	case '\r':
		l.byte('r')
	default:
		l.raw("u00")
		l.byte(hexDigits[c>>4])
		l.byte(hexDigits[c&0xf])
	}
}

// number appends n in decimal digits.
func (l *line) number(n int64) {
	var d digits
	l.raw(d.of(n))
}

// hex appends the n lowest hex digits of v.
func (l *line) hex(v uint64, n int) {
	for n > 0 {
		n--
		l.byte(hexDigits[v>>(4*n)&0xf])
	}
}

// padded appends n with at least width decimal digits.
func (l *line) padded(n int64, width int) {
	var d digits
	s := d.of(n)
	for range width - len(s) {
		l.byte('0')
	}
	l.raw(s)
}

// field appends a member whose value is text: key is `,"name":`.
func (l *line) field(key, value string) {
	l.raw(key)
	l.text(value)
}

// checked is field for a value that is odd if it may hold a secret (REC10).
func (l *line) checked(key, value string) {
	if redact.MayHold(value) {
		l.odd = true
	}
	l.field(key, value)
}

// optional is checked for a value that is left out if it is empty.
func (l *line) optional(key, value string) {
	if value != "" {
		l.checked(key, value)
	}
}

// integer appends a member whose value is a number.
func (l *line) integer(key string, value int64) {
	l.raw(key)
	l.number(value)
}

// list appends a member whose value is a list of n C strings.
func (l *line) list(key string, words **byte, n int) {
	l.raw(key)
	l.byte('[')
	for i := range n {
		if i > 0 {
			l.byte(',')
		}
		l.text(text(at(words, i)))
	}
	l.byte(']')
}

// names appends a member whose value is the list of names in stack, separated by "/".
func (l *line) names(key, stack string) {
	if stack == "" {
		return
	}
	l.raw(key)
	l.raw(`["`)
	for i := 0; i < len(stack); {
		if stack[i] == '/' {
			l.raw(`","`)
			i++
			continue
		}
		end := i
		for end < len(stack) && stack[end] != '/' {
			end++
		}
		name := stack[i:end]
		if redact.MayHold(name) {
			l.odd = true
		}
		l.escaped(name)
		i = end
	}
	l.raw(`"]`)
}

// quoted appends, as a JSON string, n words in the way that record.Quote joins them.
func (l *line) quoted(words **byte, n int) {
	l.byte('"')
	for i := range n {
		if i > 0 {
			l.byte(' ')
		}
		l.word(text(at(words, i)))
	}
	l.byte('"')
}

// word appends one word of a command, in quotes if a shell might take it for something else.
func (l *line) word(s string) {
	if s != "" && !anySpecial(s) {
		l.escaped(s)
		return
	}
	l.byte('\'')
	for i, begin := 0, 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '\'' {
			continue
		}
		l.escaped(s[begin:i])
		begin = i + 1
		if i < len(s) {
			l.raw(`'\\''`) // '\'' with the backslash doubled for JSON
		}
	}
	l.byte('\'')
}

// anySpecial says whether a shell may give a meaning to one of the characters of s.
func anySpecial(s string) bool {
	for i := range len(s) {
		c := s[i]
		plain := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= utf8.RuneSelf
		if !plain && !oneOf(c, "_-./:=@%+,") {
			return true
		}
	}
	return false
}

// oneOf says whether c is a byte of set.
func oneOf(c byte, set string) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

// view is b as a string, without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
