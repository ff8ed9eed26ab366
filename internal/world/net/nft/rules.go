package nft

import (
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// snapLen is how many bytes of a packet are reported: enough for the headers of IPv6 with
// extensions and for that of the transport protocol.
const snapLen = 128

// Offsets of the destination address in its header.
//
// Source: RFC 791, section 3.1; RFC 8200, section 3.
const (
	dst4 = 16
	dst6 = 24
)

// Bits of the conntrack state as the expression ct loads it: 1 << (enum ip_conntrack_info + 1).
//
// Source: Linux include/uapi/linux/netfilter/nf_conntrack_common.h, NF_CT_STATE_BIT.
const ctEstablishedOrRelated = 1<<1 | 1<<2

// destination loads the destination address of a packet of one family. word is how nft(8) writes
// it.
func destination(v6 bool) (word string, load []expr) {
	if v6 {
		return "ip6 daddr", []expr{
			meta(unix.NFT_META_NFPROTO), equal{unix.NFPROTO_IPV6}, payload{unix.NFT_PAYLOAD_NETWORK_HEADER, dst6, 16},
		}
	}
	return "ip daddr", []expr{
		meta(unix.NFT_META_NFPROTO), equal{unix.NFPROTO_IPV4}, payload{unix.NFT_PAYLOAD_NETWORK_HEADER, dst4, 4},
	}
}

// toLoopback4 compares only the first byte of the address.
func toLoopback4() Rule {
	return Rule{"ip daddr 127.0.0.0/8 accept", []expr{
		meta(unix.NFT_META_NFPROTO), equal{unix.NFPROTO_IPV4}, payload{unix.NFT_PAYLOAD_NETWORK_HEADER, dst4, 1}, equal{127}, accept{},
	}}
}

func toAddr(a netip.Addr) Rule {
	word, load := destination(a.Is6())
	return Rule{word + " " + a.String() + " accept", append(load, equal(a.AsSlice()), accept{})}
}

// replies lets pass what belongs to a flow that another rule accepted.
func replies() Rule {
	return Rule{"ct state established,related accept", []expr{
		ctState{}, anyBit(ctEstablishedOrRelated), accept{},
	}}
}

func toSet(set string, v6 bool) Rule {
	word, load := destination(v6)
	return Rule{word + " @" + set + " accept", append(load, lookup(set), accept{})}
}

// resets lets TCP resets out, including those of rejectTCP: without them connect(2) hangs instead
// of failing. A reset carries no data and opens no connection.
func resets() Rule {
	return Rule{"tcp flags & rst == rst accept", []expr{
		meta(unix.NFT_META_L4PROTO),
		equal{unix.IPPROTO_TCP},
		payload{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1},
		mask{4},
		equal{4},
		accept{},
	}}
}

// unreachable lets out ICMP messages of the type destination-unreachable, which rejectRest sends.
func unreachable(word string, nfproto, proto, typ byte) Rule {
	return Rule{word + " type destination-unreachable accept", []expr{
		meta(unix.NFT_META_NFPROTO),
		equal{nfproto},
		meta(unix.NFT_META_L4PROTO),
		equal{proto},
		payload{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1},
		equal{typ},
		accept{},
	}}
}

func unreachable4() Rule { return unreachable("icmp", unix.NFPROTO_IPV4, unix.IPPROTO_ICMP, 3) }

func unreachable6() Rule { return unreachable("icmpv6", unix.NFPROTO_IPV6, unix.IPPROTO_ICMPV6, 1) }

// nflog reports every packet in a message of its own: without the threshold of one, messages are up
// to a second late.
func nflog(group uint16) Rule {
	return Rule{
		fmt.Sprintf("log group %d snaplen %d queue-threshold 1", group, snapLen),
		[]expr{logGroup(group)},
	}
}

// kernelLog writes to the kernel's log. Only this rule has a limit: nflog reports every packet.
func kernelLog(prefix string) Rule {
	return Rule{"limit rate 10/second log prefix " + strconv.Quote(prefix), []expr{limit(10), logPrefix(prefix)}}
}

func rejectTCP() Rule {
	return Rule{"meta l4proto tcp reject with tcp reset", []expr{
		meta(unix.NFT_META_L4PROTO), equal{unix.IPPROTO_TCP}, reject{unix.NFT_REJECT_TCP_RST, 0},
	}}
}

// rejectRest answers with port unreachable: no other ICMP code gives a connected UDP socket
// ECONNREFUSED.
func rejectRest() Rule {
	return Rule{"reject", []expr{reject{unix.NFT_REJECT_ICMPX_UNREACH, unix.NFT_REJECT_ICMPX_PORT_UNREACH}}}
}
