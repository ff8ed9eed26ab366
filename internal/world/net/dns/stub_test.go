package dns

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

func query(t testing.TB, names ...string) []byte {
	t.Helper()
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 4711, RecursionDesired: true}}
	for _, n := range names {
		name, err := dnsmessage.NewName(n)
		if err != nil {
			t.Fatal(err)
		}
		m.Questions = append(m.Questions, dnsmessage.Question{Name: name, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET})
	}
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func parse(t testing.TB, p []byte) dnsmessage.Message {
	t.Helper()
	var m dnsmessage.Message
	if err := m.Unpack(p); err != nil {
		t.Fatalf("answer %x: %v", p, err)
	}
	return m
}

// TestAnswer proves NET3: the stub knows no name and keeps every one.
func TestAnswer(t *testing.T) {
	var s Stub
	for _, n := range []string{"Example.ORG.", "b.test.", "example.org.", "a\x00\xff\\ b.test.", "."} {
		m := parse(t, s.Answer(query(t, n)))
		if m.ID != 4711 || !m.Response || m.RCode != dnsmessage.RCodeNameError || !m.RecursionDesired || len(m.Answers) != 0 || len(m.Questions) != 1 {
			t.Errorf("answer for %q: %+v, want NXDOMAIN", n, m)
		}
	}
	want := []string{"example.org", "b.test", `a\000\255\092\032b.test`, "."}
	if d := cmp.Diff(want, s.Names()); d != "" {
		t.Errorf("Names() (-want +got):\n%s", d)
	}
}

func TestAnswerOddMessages(t *testing.T) {
	var s Stub
	code := func(p []byte) dnsmessage.RCode { return parse(t, s.Answer(p)).RCode }
	update := query(t, "a.test.")
	update[2] |= 5 << 3
	if got := code(update); got != dnsmessage.RCodeNotImplemented {
		t.Errorf("an update is answered by %v, want not implemented", got)
	}
	for _, p := range [][]byte{query(t), query(t, "a.test.", "b.test."), query(t, "a.test.")[:14]} {
		if got := code(p); got != dnsmessage.RCodeFormatError {
			t.Errorf("%x is answered by %v, want a format error", p, got)
		}
	}
	response := query(t, "a.test.")
	response[2] |= 0x80
	for _, p := range [][]byte{nil, {1, 2, 3}, response} {
		if got := s.Answer(p); got != nil {
			t.Errorf("%x is answered by %x, want no answer", p, got)
		}
	}
	if got := s.Names(); len(got) != 0 {
		t.Errorf("Names() = %q, want none", got)
	}
}

func TestNamesEnd(t *testing.T) {
	var s Stub
	for i := range MaxNames + 1 {
		if s.More() {
			t.Fatalf("More() is true after %d names", i)
		}
		s.remember(strings.Repeat("x", i))
	}
	if got := len(s.Names()); got != MaxNames || !s.More() {
		t.Errorf("%d names, More() = %v, want %d, true", got, s.More(), MaxNames)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(query(f, "a.test."))
	f.Add(query(f, "a.test.", "b.test."))
	f.Add([]byte{0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, p []byte) {
		var s Stub
		if a := s.Answer(p); a != nil {
			m := parse(t, a)
			if m.RCode == dnsmessage.RCodeSuccess || len(a) > 512 {
				t.Errorf("answer to %x is %x", p, a)
			}
		}
		for _, n := range s.Names() {
			for _, c := range []byte(n) {
				if c <= ' ' || c >= 0x7f {
					t.Errorf("name %q is not escaped", n)
				}
			}
		}
	})
}
