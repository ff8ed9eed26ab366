package trace

import "unicode/utf8"

const hexDigits = "0123456789abcdef"

// appendString appends s as a JSON string. Each byte that is not UTF-8 becomes
// U+FFFD, as in encoding/json. The line separators U+2028 and U+2029 are escaped
// too, because some programs take them for the end of a line.
//
// Source: RFC 8259, section 7.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	begin := 0 // of the run that needs no escape
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || size > 1) && r != '\u2028' && r != '\u2029' {
				i += size
				continue
			}
		}
		dst = append(dst, s[begin:i]...)
		dst = appendEscape(dst, s[i:i+size])
		i += size
		begin = i
	}
	dst = append(dst, s[begin:]...)
	return append(dst, '"')
}

// appendEscape appends the escape of one character, or of one byte that is none.
func appendEscape(dst []byte, char string) []byte {
	switch c := char[0]; {
	case len(char) > 1: // U+2028 or U+2029, which differ in the last bit
		return append(dst, '\\', 'u', '2', '0', '2', hexDigits[char[2]&0xf])
	case c >= utf8.RuneSelf:
		return append(dst, `\ufffd`...)
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, '\\', 'n')
	case c == '\t':
		return append(dst, '\\', 't')
	case c == '\r':
		return append(dst, '\\', 'r')
	default:
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
	}
}
