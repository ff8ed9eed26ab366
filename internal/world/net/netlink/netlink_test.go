package netlink

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// sample is a batch with two messages and every kind of attribute.
func sample() *Batch {
	var b Batch
	b.Message(100, Create)
	b.Raw(1, 2, 3)
	b.Text(1, "abcd")
	m := b.Nest(2)
	b.Big16(3, 0x0102)
	b.Big32(4, 0x01020304)
	b.Big64(5, 0x0102030405060708)
	b.End(m)
	b.Message(101, Ack)
	b.Native32(6, 7)
	b.Attr(8)
	return &b
}

func TestRoundTrip(t *testing.T) {
	var headers []Header
	var bodies [][]byte
	for h, body := range Messages(sample().Bytes()) {
		headers, bodies = append(headers, h), append(bodies, body)
	}
	if len(headers) != 2 || headers[0] != (Header{100, Create | Request, 1}) || headers[1] != (Header{101, Ack | Request, 2}) {
		t.Fatalf("headers %+v", headers)
	}
	if !bytes.Equal(bodies[0][:4], []byte{1, 2, 3, 0}) {
		t.Errorf("fixed part %x", bodies[0][:4])
	}
	got := map[uint16][]byte{}
	for typ, v := range Attrs(bodies[0][4:]) {
		got[typ] = v
	}
	for typ, v := range Attrs(got[2]) {
		got[typ] = v
	}
	for typ, v := range Attrs(bodies[1]) {
		got[typ] = v
	}
	want := map[uint16][]byte{
		1: []byte("abcd\x00"), 3: {1, 2}, 4: {1, 2, 3, 4}, 5: {1, 2, 3, 4, 5, 6, 7, 8},
		6: binary.NativeEndian.AppendUint32(nil, 7), 8: {},
	}
	for typ, v := range want {
		if !bytes.Equal(got[typ], v) {
			t.Errorf("attribute %d is %x, want %x", typ, got[typ], v)
		}
	}
}

func TestMessagesStop(t *testing.T) {
	whole := sample().Bytes()
	for i := range whole {
		for _, body := range Messages(whole[:i]) {
			for range Attrs(body) {
			}
		}
	}
	for h := range Messages(whole[:len(whole)-1]) {
		if h.Seq == 2 {
			t.Error("a message that is cut short was yielded")
		}
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(sample().Bytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		n := 0
		for _, body := range Messages(p) {
			n += HeaderLen + len(body)
			for range Attrs(body) {
			}
		}
		if n > len(p) {
			t.Errorf("%d bytes out of %d", n, len(p))
		}
	})
}
