package replay

import "strings"

// word is one word of a simple command without its quotes.
type word struct {
	text     string
	expanded bool // holds an expansion, so that text is not what the command gets
	quoted   int  // 1 + number of bytes of text before the first quote; beyond the end if there is none
}

// splitter cuts a simple command into words. It gives up on everything else, also on here-documents
// and command substitutions.
//
// By hand because it only finds the mode of a replay, and a parser for the whole language would
// make each start of this program slower. A test compares it with such a parser.
//
// Source: POSIX.1-2017 XCU, 2.2 "Quoting", 2.3 "Token Recognition".
type splitter struct {
	rest string
	ok   bool
}

// simpleCommand returns the words of cmd without redirections, if it is one simple command.
func simpleCommand(cmd string) ([]word, bool) {
	s := splitter{rest: cmd, ok: true}
	var words []word
	for s.ok {
		s.rest = strings.TrimLeft(s.rest, " \t")
		switch {
		case s.rest == "" || s.rest == ";":
			return words, true
		case s.rest[0] == '\n' || s.rest[0] == '#':
			return words, strings.TrimSpace(s.afterComment()) == ""
		case s.redirection():
			s.word() // its target
		default:
			words = append(words, s.word())
		}
	}
	return nil, false
}

// afterComment is what follows the comment that begins here, if there is one.
func (s *splitter) afterComment() string {
	if s.rest[0] == '\n' {
		return s.rest
	}
	_, after, _ := strings.Cut(s.rest, "\n")
	return after
}

// redirection skips the operator of a redirection if there is one here.
func (s *splitter) redirection() bool {
	op := strings.TrimLeft(s.rest, "0123456789")
	if op == "" || op[0] != '<' && op[0] != '>' {
		if !strings.HasPrefix(s.rest, "&>") {
			return false
		}
		op = s.rest[1:]
	}
	for _, bad := range []string{"<<", "<(", ">("} {
		if strings.HasPrefix(op, bad) && !strings.HasPrefix(op, "<<<") {
			s.ok = false
			return false
		}
	}
	s.rest = strings.TrimLeft(strings.TrimLeft(op, "<>&|"), " \t")
	s.ok = s.rest != "" && strings.IndexByte("#\n;<>", s.rest[0]) < 0
	return s.ok
}

// word reads one word.
func (s *splitter) word() word {
	w := word{}
	var text strings.Builder
	i := 0
	for ; s.ok && i < len(s.rest); i++ {
		c := s.rest[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '<' || c == '>':
			return s.cut(w, &text, i)
		case c == ';' && i+1 == len(s.rest) && i > 0:
			return s.cut(w, &text, i)
		case strings.IndexByte(";&|()`", c) >= 0:
			s.ok = false
		case c == '\'' || c == '"' || c == '\\':
			if w.quoted == 0 {
				w.quoted = 1 + text.Len()
			}
			i = s.quoted(&w, &text, i)
		default:
			s.plain(&w, &text, i)
		}
	}
	return s.cut(w, &text, i)
}

// cut ends a word before the byte i.
func (s *splitter) cut(w word, text *strings.Builder, i int) word {
	s.rest = s.rest[min(i, len(s.rest)):]
	w.text = text.String()
	if w.quoted == 0 {
		w.quoted = 2 + len(w.text)
	}
	return w
}

// plain adds the byte i, which is not quoted.
func (s *splitter) plain(w *word, text *strings.Builder, i int) {
	c := s.rest[i]
	switch c {
	case '$':
		s.dollar(w, i)
	case '*', '?', '[', '~', '{':
		w.expanded = true
	}
	text.WriteByte(c)
}

// dollar reads an expansion. It gives up on those that contain words.
func (s *splitter) dollar(w *word, i int) {
	w.expanded = true
	if i+1 < len(s.rest) && strings.IndexByte(`({'"[`, s.rest[i+1]) >= 0 {
		s.ok = false
	}
}

// quoted adds what the quote or backslash at i quotes, and returns the index of its last byte.
func (s *splitter) quoted(w *word, text *strings.Builder, i int) int {
	switch s.rest[i] {
	case '\\':
		if i+1 == len(s.rest) {
			s.ok = false
			return i
		}
		if s.rest[i+1] != '\n' {
			text.WriteByte(s.rest[i+1])
		}
		return i + 1
	case '\'':
		n := strings.IndexByte(s.rest[i+1:], '\'')
		if n < 0 {
			s.ok = false
			return i
		}
		text.WriteString(s.rest[i+1 : i+1+n])
		return i + 1 + n
	}
	for i++; i < len(s.rest); i++ {
		switch c := s.rest[i]; c {
		case '"':
			return i
		case '`':
			s.ok = false
			return i
		case '$':
			s.dollarInQuotes(w, i)
			text.WriteByte(c)
		case '\\':
			i = s.backslashInQuotes(text, i)
		default:
			text.WriteByte(c)
		}
	}
	s.ok = false
	return i
}

// dollarInQuotes is dollar within double quotes.
func (s *splitter) dollarInQuotes(w *word, i int) {
	w.expanded = true
	if i+1 < len(s.rest) && strings.IndexByte("({[", s.rest[i+1]) >= 0 {
		s.ok = false
	}
}

// backslashInQuotes adds what a backslash within double quotes stands for, and returns the index of
// its last byte. It quotes only $, `, ", \ and a newline.
func (s *splitter) backslashInQuotes(text *strings.Builder, i int) int {
	if i+1 == len(s.rest) {
		return i
	}
	next := s.rest[i+1]
	switch {
	case next == '\n':
	case strings.IndexByte("$`\"\\", next) >= 0:
		text.WriteByte(next)
	default:
		text.WriteByte('\\')
		text.WriteByte(next)
	}
	return i + 1
}
