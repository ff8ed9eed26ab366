package show

import (
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"substrate/fsdiff"
)

// Line is a command on one line. Most commands are left as they are, so that they can be read and
// copied; one that would break the line is escaped.
func Line(s string) string {
	escaped := fsdiff.Escape(s)
	if strings.ReplaceAll(escaped, `\\`, `\`) == s {
		return s
	}
	return escaped
}

// Cut shortens a line to width characters.
func Cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width-1]) + "…"
}

// IsTerminal reports whether a file is a terminal.
func IsTerminal(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

// TableWidth is the number of columns for a table that goes to f; 0 if f is not a terminal, where
// nothing is cut.
func TableWidth(f *os.File) int {
	if !IsTerminal(f) {
		return 0
	}
	return max(60, columns(f))
}

// columns is the width of a terminal.
func columns(f *os.File) int {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return 80
	}
	return width
}
