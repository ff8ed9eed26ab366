package netlog

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"

	"substrate/internal/world/net/netlink"

	"golang.org/x/sys/unix"
)

// ErrMalformed is the error for a datagram that the kernel would not send.
var ErrMalformed = errors.New("malformed NFLOG message")

// Decode returns the attempts in one datagram of a socket that [Bind] connected. A datagram may
// hold several messages. Decode skips messages without a packet, such as the answer to Bind, and
// the packets with which the kernel itself finds neighbours and routers: ICMPv6 of types 130 to
// 137, 143 and 151 to 153 without an owner. If a command sends such a packet, the packet has an
// owner and is reported.
//
// The error is [ErrMalformed] for a datagram that is cut or invalid; the events before that place
// are returned too.
//
// Source: Linux include/uapi/linux/netfilter/nfnetlink_log.h; RFC 4861, section 4; RFC 3810,
// section 5; RFC 4286, section 2.
func Decode(datagram []byte) ([]Event, error) {
	var events []Event
	used := 0
	for h, body := range netlink.Messages(datagram) {
		used += (netlink.HeaderLen + len(body) + 3) &^ 3
		if h.Type != unix.NFNL_SUBSYS_ULOG<<8|msgPacket {
			continue
		}
		if len(body) < 4 { // struct nfgenmsg
			return events, ErrMalformed
		}
		e, own, err := packet(body[4:])
		if err != nil {
			return events, err
		}
		if !own {
			events = append(events, e)
		}
	}
	if used < len(datagram) {
		return events, ErrMalformed
	}
	return events, nil
}

// packet reads the attributes of one message. The packet is the kernel's own if own is true.
func packet(attrs []byte) (e Event, own bool, err error) {
	e.UID = -1
	var payload []byte
	for typ, v := range netlink.Attrs(attrs) {
		switch {
		case typ == attrPayload:
			payload = v
		case typ == attrUID && len(v) == 4:
			e.UID = int(binary.BigEndian.Uint32(v))
		}
	}
	kind, err := e.address(payload)
	return e, e.UID < 0 && e.Proto == "icmpv6" && neighbours(kind), err
}

// neighbours reports whether an ICMPv6 type serves to find neighbours, routers and listeners.
func neighbours(kind byte) bool {
	return kind >= 130 && kind <= 137 || kind == 143 || kind >= 151 && kind <= 153
}

// address fills in destination, protocol and port from the packet p. kind is the type of an ICMP
// message.
func (e *Event) address(p []byte) (kind byte, err error) {
	if len(p) == 0 {
		return 0, ErrMalformed
	}
	switch p[0] >> 4 {
	case 4:
		return e.ipv4(p)
	case 6:
		return e.ipv6(p)
	}
	return 0, ErrMalformed
}

// ipv4 reads an IPv4 header.
//
// Source: RFC 791, section 3.1.
func (e *Event) ipv4(p []byte) (kind byte, err error) {
	size := int(p[0]&15) * 4
	if size < 20 || len(p) < 20 {
		return 0, ErrMalformed
	}
	e.Dst = netip.AddrFrom4([4]byte(p[16:20]))
	if fragment := binary.BigEndian.Uint16(p[6:]) & 0x1fff; fragment != 0 || len(p) < size {
		return e.transport(p[9], nil), nil
	}
	return e.transport(p[9], p[size:]), nil
}

// ipv6 reads an IPv6 header and follows the chain of extension headers.
//
// Source: RFC 8200, sections 3 and 4; RFC 4302, section 2.2, for the length of an authentication
// header.
func (e *Event) ipv6(p []byte) (kind byte, err error) {
	if len(p) < 40 {
		return 0, ErrMalformed
	}
	e.Dst = netip.AddrFrom16([16]byte(p[24:40]))
	proto, rest := p[6], p[40:]
	for len(rest) >= 8 {
		size := 8 + int(rest[1])*8
		switch proto {
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS, 135, 139, 140:
		case unix.IPPROTO_FRAGMENT:
			size = 8
			if binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0 {
				return e.transport(rest[0], nil), nil
			}
		case unix.IPPROTO_AH:
			size = 8 + int(rest[1])*4
		default:
			return e.transport(proto, rest), nil
		}
		proto, rest = rest[0], rest[min(size, len(rest)):]
	}
	return e.transport(proto, rest), nil
}

// transport fills in protocol and port from p, the content of the IP packet. It may be empty.
func (e *Event) transport(proto byte, p []byte) (kind byte) {
	ports := false
	switch proto {
	case unix.IPPROTO_TCP:
		e.Proto, ports = "tcp", true
	case unix.IPPROTO_UDP:
		e.Proto, ports = "udp", true
	case unix.IPPROTO_ICMP:
		e.Proto = "icmp"
	case unix.IPPROTO_ICMPV6:
		e.Proto = "icmpv6"
		if len(p) > 0 {
			kind = p[0]
		}
	case unix.IPPROTO_SCTP, unix.IPPROTO_DCCP, unix.IPPROTO_UDPLITE:
		ports = true
		fallthrough
	default:
		e.Proto = strconv.Itoa(int(proto))
	}
	if ports && len(p) >= 4 {
		e.Port = binary.BigEndian.Uint16(p[2:])
	}
	return kind
}
