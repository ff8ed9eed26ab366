package fsdiff

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns the line of a report that shows the entry, without a newline:
// "  + path" for created, "  ~ path" for modified, "  - path" for deleted and
// "  ! path" for a changed type. The path is escaped by [Escape].
func Line(e *Entry) string {
	mark := "?" // a kind of a later version
	switch e.Kind {
	case Create:
		mark = "+"
	case Modify:
		mark = "~"
	case Delete:
		mark = "-"
	case TypeChange:
		mark = "!"
	}
	return "  " + mark + " " + Escape(e.Raw())
}

// Escape returns s in a form that is safe on a terminal, on one line. Control characters, invisible
// characters and bytes that are not UTF-8 become Go escapes (\n, \x1b, \u202e, \xff), and a
// backslash becomes two. Everything else stays, including emoji and spaces. [Unescape] is the
// reverse.
//
// Source: The Go Programming Language Specification, "Rune literals".
func Escape(s string) string {
	if !needsEscape(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\'':
			b.WriteByte(s[i])
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[i])|0x100, 16)[1:])
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return b.String()
}

// Unescape is the reverse of [Escape]. The error is [strconv.ErrSyntax] if s is no result of
// Escape.
func Unescape(s string) (string, error) {
	return strconv.Unquote(`"` + strings.ReplaceAll(s, `"`, `\"`) + `"`)
}

// needsEscape reports whether Escape changes anything.
func needsEscape(s string) bool {
	for i, r := range s {
		if r == '\\' || !unicode.IsPrint(r) {
			return true
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return true
			}
		}
	}
	return false
}
