package trace

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"strings"

	"substrate/internal/plain"
)

// match selects the lines that a reader searches for. It is fast. It may select too many lines, so
// the caller decodes each line and checks it again. It misses no line that this package wrote.
type match struct {
	ids     []idPrefix // any of these; nil for every id
	session string     // beginning of a session id; "" for every session
}

// idPrefix is the beginning of a span id.
type idPrefix struct {
	text  []byte // as in a line; a whole id is followed by the quote
	bytes []byte // of the UUID: the whole bytes that text fixes
	half  int    // the four bits after bytes, -1 if text fixes an even number of digits
	uuid  bool   // an id that this package made can begin with text
}

// matchID matches the span with exactly this id.
func matchID(id string) match {
	p := newIDPrefix(id)
	p.text = append(p.text, '"')
	return match{ids: []idPrefix{p}}
}

// matchPrefix matches ids that begin with ref, or with spn_ and ref.
func matchPrefix(ref string) match {
	return match{ids: []idPrefix{newIDPrefix(ref), newIDPrefix(plain.SpanPrefix + ref)}}
}

func newIDPrefix(text string) idPrefix {
	p := idPrefix{text: []byte(text), half: -1}
	digits, long := strings.CutPrefix(text, plain.SpanPrefix)
	if !long {
		p.uuid = strings.HasPrefix(plain.SpanPrefix, text) // too short to decide
		return p
	}
	odd := digits
	if len(digits)%2 == 1 {
		odd = digits + "0"
	}
	raw, err := hex.DecodeString(odd)
	if err != nil || len(raw) > 16 || strings.ToLower(digits) != digits {
		return p
	}
	p.uuid, p.bytes = true, raw
	if len(digits)%2 == 1 {
		p.bytes, p.half = raw[:len(raw)-1], int(raw[len(raw)-1]>>4)
	}
	return p
}

// line reports whether a line may match.
func (m match) line(text []byte) bool {
	if m.session != "" && !bytes.Contains(text, []byte(m.session)) {
		return false
	}
	if m.ids == nil {
		return true
	}
	for _, p := range m.ids {
		if hasSpanID(text, p.text) {
			return true
		}
	}
	return false
}

// entry reports whether the line of an entry may match. An entry holds a hash of the whole session
// id, so only a whole id can be compared.
func (m match) entry(e entry) bool {
	if m.session != "" && len(m.session) == sessionIDLen && e.session() != sessionHash(m.session) {
		return false
	}
	if m.ids == nil {
		return true
	}
	for _, p := range m.ids {
		if p.entry(e) {
			return true
		}
	}
	return false
}

func (p idPrefix) entry(e entry) bool {
	if !e.uuid() {
		n := min(len(p.text), len(e.id()))
		text := bytes.TrimSuffix(p.text, []byte{'"'})
		return bytes.Equal(e.id()[:min(n, len(text))], text[:min(n, len(text))])
	}
	id := e.id()
	return p.uuid && bytes.HasPrefix(id, p.bytes) && (p.half < 0 || int(id[len(p.bytes)]>>4) == p.half)
}

// sessionHash is the part of a session id that an entry holds: 24 bits.
func sessionHash(id string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never an error
	return h.Sum32() >> 8
}

// entry is what an index holds of one line: 16 bytes of the span id, four of the length with its
// newline, three of a hash of the session id, and one of flags. The offset of a line is the sum of
// the lengths before it.
type entry []byte

const entrySize = 24

// Flags of an entry.
const (
	flagUUID = 1 << iota // the id is spn_ and the bytes in hex; else the bytes are the beginning of its text
)

func (e entry) id() []byte      { return e[:16] }
func (e entry) length() int64   { return int64(binary.LittleEndian.Uint32(e[16:])) }
func (e entry) session() uint32 { return binary.LittleEndian.Uint32(e[20:]) >> 8 }
func (e entry) uuid() bool      { return e[20]&flagUUID != 0 }

// appendEntry appends the entry of a line. The text has no newline.
func appendEntry(dst, text []byte) []byte {
	id, session := peek(text)
	var e [entrySize]byte
	meta := sessionHash(string(session)) << 8
	if digits, ok := bytes.CutPrefix(id, []byte(plain.SpanPrefix)); ok && len(digits) == 32 && isLowerHex(digits) {
		_, _ = hex.Decode(e[:16], digits) // the digits were checked
		meta |= flagUUID
	} else {
		copy(e[:16], id)
	}
	binary.LittleEndian.PutUint32(e[16:], uint32(len(text)+1))
	binary.LittleEndian.PutUint32(e[20:], meta)
	return append(dst, e[:]...)
}

func isLowerHex(digits []byte) bool {
	for _, c := range digits {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// headKeys is the text between the values at the beginning of a line that this package wrote.
var headKeys = [...][]byte{
	[]byte(`{"trace_schema_version":1,"ts":"`), []byte(`","event_type":"`), []byte(`","session_id":"`), []byte(`","component":"`), []byte(`","span_id":"`),
}

// head is the beginning of a line.
type head struct{ ts, event, session, component, span []byte }

// cutHead parses the beginning of a line that this package wrote; ok is false for any other line.
func cutHead(text []byte) (h head, ok bool) {
	var values [len(headKeys)][]byte
	for i, key := range headKeys {
		after, ok := bytes.CutPrefix(text, key)
		end := bytes.IndexByte(after, '"')
		if !ok || end < 0 || bytes.IndexByte(after[:end], '\\') >= 0 {
			return head{}, false
		}
		values[i], text = after[:end], after[end:]
	}
	return head{values[0], values[1], values[2], values[3], values[4]}, true
}

// peek returns the ids of a line. Lines of this package have them at the beginning; others are
// decoded. A line that is not a record has no ids.
func peek(text []byte) (span, session []byte) {
	if h, ok := cutHead(text); ok {
		return h.span, h.session
	}
	return peekForeign(text)
}

func peekForeign(text []byte) (span, session []byte) {
	r, err := Decode(text)
	if err != nil {
		return nil, nil
	}
	span, session = []byte(r.SpanID), []byte(r.SessionID)
	if !hasSpanID(text, append(bytes.Clone(span), '"')) {
		span = nil // written with escapes; readers without an index do not find it either
	}
	return span, session
}
