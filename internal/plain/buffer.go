package plain

import (
	"slices"
	"unicode/utf8"
)

// Buffer collects text in Bytes.
type Buffer struct {
	Bytes []byte
	// Grow returns its argument with room for n bytes more, as slices.Grow does. It is nil for a
	// buffer of a fixed size.
	Grow func(b []byte, n int) []byte
	// Full is set when something did not fit and was left out.
	Full bool
}

// Growing is a buffer that begins with dst and grows as needed.
func Growing(dst []byte) Buffer { return Buffer{Bytes: dst, Grow: slices.Grow[[]byte]} }

// Fixed is an empty buffer of the size of room.
func Fixed(room []byte) Buffer { return Buffer{Bytes: room[:0]} }

// Reset empties the buffer and leaves the first n bytes.
func (b *Buffer) Reset(n int) *Buffer {
	b.Bytes, b.Full = b.Bytes[:n], false
	return b
}

// String is a view of the text.
func (b *Buffer) String() string { return View(b.Bytes) }

// extend makes the text n bytes longer and reports whether there was room.
func (b *Buffer) extend(n int) bool {
	if n > cap(b.Bytes)-len(b.Bytes) {
		if b.Grow == nil {
			b.Full = true
			return false
		}
		b.Bytes = b.Grow(b.Bytes, n)
	}
	b.Bytes = b.Bytes[:len(b.Bytes)+n]
	return true
}

// Byte appends c.
func (b *Buffer) Byte(c byte) *Buffer {
	if b.extend(1) {
		b.Bytes[len(b.Bytes)-1] = c
	}
	return b
}

// Raw appends s as it is.
func (b *Buffer) Raw(s string) *Buffer {
	if b.extend(len(s)) {
		to := b.Bytes[len(b.Bytes)-len(s):]
		for i := range len(s) { // copy would call into another part of the program
			to[i] = s[i]
		}
	}
	return b
}

// CString is the text followed by a zero byte, for the kernel. It sets Full if there is no room for
// that byte.
func (b *Buffer) CString() *byte {
	if b.extend(1) {
		b.Bytes[len(b.Bytes)-1] = 0
		b.Bytes = b.Bytes[:len(b.Bytes)-1]
	}
	return &b.Bytes[:1][0]
}

// Int appends n in decimal digits.
func (b *Buffer) Int(n int64) *Buffer {
	if n < 0 {
		return b.Byte('-').padded(-uint64(n), 1)
	}
	return b.padded(uint64(n), 1)
}

// padded appends u with at least width decimal digits.
func (b *Buffer) padded(u uint64, width int) *Buffer {
	var digits [20]byte
	i := len(digits)
	for ; u > 0 || width > 0; width-- {
		i--
		digits[i] = byte('0' + u%10)
		u /= 10
	}
	return b.Raw(View(digits[i:]))
}

const hexDigits = "0123456789abcdef"

// Hex appends the n lowest hex digits of v.
func (b *Buffer) Hex(v uint64, n int) *Buffer {
	for n > 0 {
		n--
		b.Byte(hexDigits[v>>(4*uint(n))&0xf])
	}
	return b
}

// Base64 appends s in base64 (RFC 4648, section 4).
func (b *Buffer) Base64(s string) *Buffer {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for len(s) > 0 {
		n, bits := min(3, len(s)), uint32(0)
		for i := range 3 {
			bits <<= 8
			if i < n {
				bits |= uint32(s[i])
			}
		}
		for i := range 4 {
			if i > n {
				b.Byte('=')
			} else {
				b.Byte(digits[bits>>(18-6*i)&63])
			}
		}
		s = s[n:]
	}
	return b
}

// JSON appends s as a JSON string. Each byte that is not UTF-8 becomes U+FFFD, as in encoding/json.
// The line separators U+2028 and U+2029 are escaped too, because some programs take them for the
// end of a line.
//
// Source: RFC 8259, section 7.
func (b *Buffer) JSON(s string) *Buffer {
	b.Byte('"')
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
		b.Raw(s[begin:i]).escape(s[i : i+size])
		i += size
		begin = i
	}
	return b.Raw(s[begin:]).Byte('"')
}

// escape appends the escape of one character, or of one byte that is not UTF-8.
func (b *Buffer) escape(char string) *Buffer {
	b.Byte('\\')
	switch c := char[0]; {
	case len(char) > 1: // U+2028 or U+2029, which differ in the last bit
		return b.Raw("u202").Hex(uint64(char[2]), 1)
	case c >= utf8.RuneSelf:
		return b.Raw("ufffd")
	case c == '"' || c == '\\':
		return b.Byte(c)
	case c == '\n':
		return b.Byte('n')
	case c == '\t':
		return b.Byte('t')
	case c == '\r':
		return b.Byte('r')
	default:
		return b.Raw("u").Hex(uint64(c), 4)
	}
}

// Quote appends words as a line that a shell would take apart again. It is for people: what was run
// stands in the arguments.
func (b *Buffer) Quote(words []string) *Buffer {
	for i, w := range words {
		if i > 0 {
			b.Byte(' ')
		}
		if w != "" && isPlainWord(w) {
			b.Raw(w)
			continue
		}
		b.Byte('\'')
		for j := range len(w) {
			if w[j] == '\'' {
				b.Raw(`'\'`)
			}
			b.Byte(w[j])
		}
		b.Byte('\'')
	}
	return b
}

// Quoted is [Buffer.Quote] as a string of its own.
func Quoted(words []string) string {
	b := Growing(nil)
	return b.Quote(words).String()
}

// isPlainWord reports whether a shell gives no meaning to any character of s.
func isPlainWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLetterOrDigit(c) && c < utf8.RuneSelf && Index("_-./:=@%+,", c) < 0 {
			return false
		}
	}
	return true
}

func isLetterOrDigit(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
