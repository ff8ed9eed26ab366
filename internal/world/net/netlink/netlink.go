// Package netlink writes and reads netlink messages.
//
// A netlink request is a header, a fixed part and attributes. An attribute has a length, a type and
// a value, padded to four bytes, and may hold other attributes. Several messages in one slice are a
// batch, which one sendto(2) sends to the kernel. [Batch] builds such a slice without a system
// call, so that the bytes can be prepared for a process that must not allocate. The packages netns,
// nft and netlog know what messages mean.
//
// Messages are built by hand: vishvananda/netlink takes 228 to 378 µs for the set-up of a namespace
// that prepared bytes do in 80 to 100 µs, and the process that sends them may not allocate.
//
// Source: netlink(7); Linux Documentation/userspace-api/netlink/intro.rst.
package netlink

import (
	"encoding/binary"
	"iter"
)

// HeaderLen is the length of a message header (struct nlmsghdr) in bytes.
const HeaderLen = 16

// Flags of a message header.
//
// The kernel always answers a message with Ack, and one without it only if it failed: a message of
// [TypeError] whose first four bytes are 0 or a negative errno. So a batch with Ack on its last
// message succeeded if and only if no answer has an errno and the last message has an answer. The
// second condition matters: the kernel skips what it cannot parse without an error. Read all
// answers: a commit of nf_tables that fails answers with the sequence number of the first message,
// and may still acknowledge the others. rtnetlink, nf_tables and NFLOG finish the batch before
// sendto(2) returns, so every answer can be read by then.
//
// Source: netlink(7), "Standard flag bits".
const (
	Request   = 0x001 // every message to the kernel has it
	Ack       = 0x004
	Replace   = 0x100 // replace an object that is there
	Exclusive = 0x200 // fail if the object is there
	Create    = 0x400 // make the object if it is not there
	Append    = 0x800 // add to the end of the list
)

// Types of messages that belong to netlink itself.
const (
	TypeNoop  = 1
	TypeError = 2 // the answer to a request: an errno, 0 for an acknowledgement
	TypeDone  = 3
)

// nested marks the type of an attribute that holds attributes (NLA_F_NESTED).
const nested = 0x8000

// Batch is a growing list of messages. The zero value is empty; its first message gets sequence
// number 1.
type Batch struct {
	buf []byte
	msg int // where the current message begins
	seq uint32
}

// Grow makes room for n bytes.
func (b *Batch) Grow(n int) {
	if cap(b.buf)-len(b.buf) < n {
		b.buf = append(make([]byte, 0, len(b.buf)+n), b.buf...)
	}
}

// Message ends the current message and begins another. It adds [Request] to flags.
func (b *Batch) Message(typ, flags uint16) {
	b.msg = len(b.Bytes())
	b.seq++
	b.buf = append(b.buf, 0, 0, 0, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, flags|Request)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, b.seq)
	b.buf = append(b.buf, 0, 0, 0, 0) // port id: the kernel fills it in
}

// Bytes ends the last message and returns the batch.
func (b *Batch) Bytes() []byte {
	if len(b.buf) > b.msg {
		binary.NativeEndian.PutUint32(b.buf[b.msg:], uint32(len(b.buf)-b.msg))
	}
	return b.buf
}

// Raw appends the fixed part of a message, padded to four bytes.
func (b *Batch) Raw(p ...byte) {
	b.buf = padded(append(b.buf, p...))
}

// Nest begins an attribute that holds the attributes that follow, up to [Batch.End] with this mark.
func (b *Batch) Nest(typ uint16) (mark int) {
	mark = len(b.buf)
	b.header(typ|nested, 0)
	return mark
}

// End closes the attribute that began at mark.
func (b *Batch) End(mark int) {
	binary.NativeEndian.PutUint16(b.buf[mark:], uint16(len(b.buf)-mark))
}

// Attr appends an attribute with the value p.
func (b *Batch) Attr(typ uint16, p ...byte) {
	b.header(typ, len(p))
	b.buf = padded(append(b.buf, p...))
}

// Text appends an attribute with s and a zero byte.
func (b *Batch) Text(typ uint16, s string) {
	b.header(typ, len(s)+1)
	b.buf = padded(append(append(b.buf, s...), 0))
}

// Native32 appends an attribute with v in the machine's byte order, as rtnetlink wants it.
func (b *Batch) Native32(typ uint16, v uint32) {
	b.header(typ, 4)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, v)
}

// Big16 appends an attribute with v in network byte order, as nfnetlink wants it.
func (b *Batch) Big16(typ, v uint16) { b.Attr(typ, byte(v>>8), byte(v)) }

// Big32 appends an attribute with v in network byte order.
func (b *Batch) Big32(typ uint16, v uint32) {
	b.header(typ, 4)
	b.buf = binary.BigEndian.AppendUint32(b.buf, v)
}

// Big64 appends an attribute with v in network byte order.
func (b *Batch) Big64(typ uint16, v uint64) {
	b.header(typ, 8)
	b.buf = binary.BigEndian.AppendUint64(b.buf, v)
}

func (b *Batch) header(typ uint16, n int) {
	b.buf = binary.NativeEndian.AppendUint16(b.buf, uint16(4+n))
	b.buf = binary.NativeEndian.AppendUint16(b.buf, typ)
}

func padded(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// Header is the header of a message that was received.
type Header struct {
	Type, Flags uint16
	Seq         uint32
}

// Messages yields the header and the content of each message in p. It stops at the first message
// that is cut.
func Messages(p []byte) iter.Seq2[Header, []byte] {
	return func(yield func(Header, []byte) bool) {
		for len(p) >= HeaderLen {
			n := int(binary.NativeEndian.Uint32(p))
			if n < HeaderLen || n > len(p) {
				return
			}
			h := Header{
				Type:  binary.NativeEndian.Uint16(p[4:]),
				Flags: binary.NativeEndian.Uint16(p[6:]),
				Seq:   binary.NativeEndian.Uint32(p[8:]),
			}
			if !yield(h, p[HeaderLen:n]) {
				return
			}
			p = p[min((n+3)&^3, len(p)):]
		}
	}
}

// Attrs yields the type, without its flag bits, and the value of each attribute in p. It stops at
// the first attribute that is cut.
func Attrs(p []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(p) >= 4 {
			n := int(binary.NativeEndian.Uint16(p))
			if n < 4 || n > len(p) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(p[2:])&0x3fff, p[4:n]) {
				return
			}
			p = p[min((n+3)&^3, len(p)):]
		}
	}
}
