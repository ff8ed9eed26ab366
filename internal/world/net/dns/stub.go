// Package dns is what a world sees of the networks outside.
//
// So far that is nothing but a name server, the [Stub]: it answers every question with NXDOMAIN
// and remembers the names, so that a report can say whom a command meant to reach and not
// only that it did not get there. Its sockets are made inside the world, by the world's first
// process, and served from outside. Which packets may pass is decided by package nft.
package dns

import (
	"strconv"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// MaxNames is how many names a [Stub] remembers.
const MaxNames = 10000

// Stub is a name server that knows no name. The zero value is ready. Its methods may be called from
// several goroutines.
type Stub struct {
	mu    sync.Mutex
	seen  map[string]struct{}
	names []string
	more  bool
}

// Names returns each name that was asked for, once, in the order of first appearance: in lower case, without the
// dot at the end, and bytes that are neither letters, digits, '-' nor '_' as \DDD. The root is ".".
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

// Answer returns the answer to one message and remembers the name in it. It is nil for what is no question at
// all, such as an answer.
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

// escape returns the name in the form that [Stub.Names] promises.
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
