// Package dns is the name server of a world.
//
// The [Stub] answers every question with NXDOMAIN and keeps the names, so that a report can show
// whom a command wanted to reach. The init process makes its sockets inside the world, and the
// supervisor answers from outside. Package nft decides which packets may pass.
package dns

import (
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// MaxNames is how many names a [Stub] keeps.
const MaxNames = 10000

// Stub is a name server without names. The zero value is ready. Several goroutines may call its
// methods.
type Stub struct {
	mu    sync.Mutex
	seen  map[string]struct{}
	names []string
	more  bool
}

// Names returns each name that was asked for once, in the order of first appearance: in lower case,
// without the dot at the end, and with \DDD for bytes other than letters, digits, '-' and '_'. The
// root is ".".
//
// Source: RFC 4343, section 2.1.
func (s *Stub) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.names...)
}

// More reports whether names were asked for after the first [MaxNames].
func (s *Stub) More() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.more
}

// Answer returns the answer to one message and keeps the name in it. It is nil if the message is no
// question, for example an answer.
//
// Source: RFC 1035, section 4.1; RFC 6895, section 2.3, for the codes.
func (s *Stub) Answer(query []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil || h.Response {
		return nil
	}
	reply := dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode, RecursionDesired: h.RecursionDesired, RecursionAvailable: true}
	questions, err := p.AllQuestions()
	switch {
	case h.OpCode != 0:
		reply.RCode, questions = dnsmessage.RCodeNotImplemented, nil
	case err != nil || len(questions) != 1:
		reply.RCode, questions = dnsmessage.RCodeFormatError, nil
	default:
		reply.RCode = dnsmessage.RCodeNameError
		s.remember(escape(questions[0].Name))
	}
	answer, err := (&dnsmessage.Message{Header: reply, Questions: questions}).Pack()
	if err != nil {
		return nil
	}
	return answer
}

func (s *Stub) remember(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, old := s.seen[name]; old {
		return
	}
	if len(s.names) >= MaxNames {
		s.more = true
		return
	}
	if s.seen == nil {
		s.seen = make(map[string]struct{})
	}
	s.seen[name] = struct{}{}
	s.names = append(s.names, name)
}

// escape returns the name in the form that [Stub.Names] documents.
func escape(name dnsmessage.Name) string {
	var b strings.Builder
	for _, c := range name.Data[:name.Length] {
		switch {
		case 'A' <= c && c <= 'Z':
			b.WriteByte(c + 'a' - 'A')
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
			b.WriteByte(c)
		default:
			b.WriteString("\\" + strconv.Itoa(int(c) + 1000)[1:])
		}
	}
	if b.Len() == 1 {
		return b.String()
	}
	return strings.TrimSuffix(b.String(), ".")
}
