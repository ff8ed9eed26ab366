package nft

import (
	"encoding/binary"

	"substrate/internal/world/net/netlink"

	"golang.org/x/sys/unix"
)

// expr is one expression of a rule. All of them work on register 1.
//
// Source: Linux include/uapi/linux/netfilter/nf_tables.h.
type expr interface {
	add(b *netlink.Batch)
}

const (
	reg1    = unix.NFT_REG_1
	verdict = unix.NFT_REG_VERDICT

	nfAccept = 1 // NF_ACCEPT of include/uapi/linux/netfilter.h
)

// element appends the expression called name, with the attributes that fill adds.
func element(b *netlink.Batch, name string, fill func()) {
	outer := b.Nest(unix.NFTA_LIST_ELEM)
	b.Text(unix.NFTA_EXPR_NAME, name)
	data := b.Nest(unix.NFTA_EXPR_DATA)
	fill()
	b.End(data)
	b.End(outer)
}

// value appends an attribute that holds v as data.
func value(b *netlink.Batch, typ uint16, v []byte) {
	m := b.Nest(typ)
	b.Attr(unix.NFTA_DATA_VALUE, v...)
	b.End(m)
}

// meta loads a property of the packet.
type meta uint32

func (e meta) add(b *netlink.Batch) {
	element(b, "meta", func() {
		b.Big32(unix.NFTA_META_KEY, uint32(e))
		b.Big32(unix.NFTA_META_DREG, reg1)
	})
}

// payload loads n bytes at an offset of a header.
type payload struct{ base, offset, n uint32 }

func (e payload) add(b *netlink.Batch) {
	element(b, "payload", func() {
		b.Big32(unix.NFTA_PAYLOAD_DREG, reg1)
		b.Big32(unix.NFTA_PAYLOAD_BASE, e.base)
		b.Big32(unix.NFTA_PAYLOAD_OFFSET, e.offset)
		b.Big32(unix.NFTA_PAYLOAD_LEN, e.n)
	})
}

// ctState loads the state of the flow.
type ctState struct{}

func (ctState) add(b *netlink.Batch) {
	element(b, "ct", func() {
		b.Big32(unix.NFTA_CT_KEY, unix.NFT_CT_STATE)
		b.Big32(unix.NFTA_CT_DREG, reg1)
	})
}

// mask clears the bits of the register that are not set in it.
type mask []byte

func (e mask) add(b *netlink.Batch) {
	element(b, "bitwise", func() {
		b.Big32(unix.NFTA_BITWISE_SREG, reg1)
		b.Big32(unix.NFTA_BITWISE_DREG, reg1)
		b.Big32(unix.NFTA_BITWISE_LEN, uint32(len(e)))
		value(b, unix.NFTA_BITWISE_MASK, e)
		value(b, unix.NFTA_BITWISE_XOR, make([]byte, len(e)))
	})
}

// anyBit continues if the register, a number, has one of these bits.
type anyBit uint32

func (e anyBit) add(b *netlink.Batch) {
	mask(binary.NativeEndian.AppendUint32(nil, uint32(e))).add(b)
	compare(b, unix.NFT_CMP_NEQ, make([]byte, 4))
}

// equal continues if the register holds these bytes.
type equal []byte

func (e equal) add(b *netlink.Batch) { compare(b, unix.NFT_CMP_EQ, e) }

func compare(b *netlink.Batch, op uint32, v []byte) {
	element(b, "cmp", func() {
		b.Big32(unix.NFTA_CMP_SREG, reg1)
		b.Big32(unix.NFTA_CMP_OP, op)
		value(b, unix.NFTA_CMP_DATA, v)
	})
}

// lookup continues if the set of that name has the value of the register.
type lookup string

func (e lookup) add(b *netlink.Batch) {
	element(b, "lookup", func() {
		b.Big32(unix.NFTA_LOOKUP_SREG, reg1)
		b.Text(unix.NFTA_LOOKUP_SET, string(e))
	})
}

// accept lets the packet pass.
type accept struct{}

func (accept) add(b *netlink.Batch) {
	element(b, "immediate", func() {
		b.Big32(unix.NFTA_IMMEDIATE_DREG, verdict)
		data := b.Nest(unix.NFTA_IMMEDIATE_DATA)
		v := b.Nest(unix.NFTA_DATA_VERDICT)
		b.Big32(unix.NFTA_VERDICT_CODE, nfAccept)
		b.End(v)
		b.End(data)
	})
}

// logGroup reports the packet to an NFLOG group.
type logGroup uint16

func (e logGroup) add(b *netlink.Batch) {
	element(b, "log", func() {
		b.Big16(unix.NFTA_LOG_GROUP, uint16(e))
		b.Big32(unix.NFTA_LOG_SNAPLEN, snapLen)
		b.Big16(unix.NFTA_LOG_QTHRESHOLD, 1)
	})
}

// logPrefix writes this text, of up to 127 bytes, and the packet to the kernel's log.
type logPrefix string

func (e logPrefix) add(b *netlink.Batch) {
	element(b, "log", func() {
		b.Text(unix.NFTA_LOG_PREFIX, string(e))
	})
}

// limit continues for that many packets a second, and for five at once.
type limit uint64

func (e limit) add(b *netlink.Batch) {
	element(b, "limit", func() {
		b.Big64(unix.NFTA_LIMIT_RATE, uint64(e))
		b.Big64(unix.NFTA_LIMIT_UNIT, 1)
		b.Big32(unix.NFTA_LIMIT_BURST, 5)
		b.Big32(unix.NFTA_LIMIT_TYPE, unix.NFT_LIMIT_PKTS)
		b.Big32(unix.NFTA_LIMIT_FLAGS, 0)
	})
}

// reject drops the packet and answers in the name of its destination.
type reject struct {
	typ  uint32
	code byte
}

func (e reject) add(b *netlink.Batch) {
	element(b, "reject", func() {
		b.Big32(unix.NFTA_REJECT_TYPE, e.typ)
		b.Attr(unix.NFTA_REJECT_ICMP_CODE, e.code)
	})
}
