package nft

import (
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// snapLen is how many bytes of a packet are reported: enough for the headers of IPv6 with extensions
// and of what it carries.
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

func toLoopback4() Rule {
	return Rule{"ip daddr 127.0.0.0/8 accept", []expr{
		meta(unix.NFT_META_NFPROTO),
		equal{unix.NFPROTO_IPV4},
		payload{unix.NFT_PAYLOAD_NETWORK_HEADER, dst4, 1},
		equal{127},
		accept{},
	}}
}

func toAddr(a netip.Addr) Rule {
	if a.Is6() {
		return Rule{fmt.Sprintf("ip6 daddr %s accept", a), []expr{
			meta(unix.NFT_META_NFPROTO),
			equal{unix.NFPROTO_IPV6},
			payload{unix.NFT_PAYLOAD_NETWORK_HEADER, dst6, 16},
			equal(a.AsSlice()),
			accept{},
		}}
	}
	return Rule{fmt.Sprintf("ip daddr %s accept", a), []expr{
		meta(unix.NFT_META_NFPROTO),
		equal{unix.NFPROTO_IPV4},
		payload{unix.NFT_PAYLOAD_NETWORK_HEADER, dst4, 4},
		equal(a.AsSlice()),
		accept{},
	}}
}

// replies lets answers pass and whatever else belongs to a flow that was let in.
func replies() Rule {
	return Rule{"ct state established,related accept", []expr{
		ctState{}, anyBit(ctEstablishedOrRelated), accept{},
	}}
}

func toSet(set string, v6 bool) Rule {
	if v6 {
		return Rule{"ip6 daddr @" + set + " accept", []expr{
			meta(unix.NFT_META_NFPROTO),
			equal{unix.NFPROTO_IPV6},
			payload{unix.NFT_PAYLOAD_NETWORK_HEADER, dst6, 16},
			lookup(set),
			accept{},
		}}
	}
	return Rule{"ip daddr @" + set + " accept", []expr{
		meta(unix.NFT_META_NFPROTO),
		equal{unix.NFPROTO_IPV4},
		payload{unix.NFT_PAYLOAD_NETWORK_HEADER, dst4, 4},
		lookup(set),
		accept{},
	}}
}

// resets lets TCP resets out, those of rejectTCP among them: where they are stopped, connect(2) hangs
// instead of failing. A reset carries nothing and opens nothing.
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

func unreachable4() Rule {
	return Rule{"icmp type destination-unreachable accept", []expr{
		meta(unix.NFT_META_NFPROTO),
		equal{unix.NFPROTO_IPV4},
		meta(unix.NFT_META_L4PROTO),
		equal{unix.IPPROTO_ICMP},
		payload{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1},
		equal{3},
		accept{},
	}}
}

func unreachable6() Rule {
	return Rule{"icmpv6 type destination-unreachable accept", []expr{
		meta(unix.NFT_META_NFPROTO),
		equal{unix.NFPROTO_IPV6},
		meta(unix.NFT_META_L4PROTO),
		equal{unix.IPPROTO_ICMPV6},
		payload{unix.NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1},
		equal{1},
		accept{},
	}}
}

// nflog reports every packet, one message for each: without the threshold of one they
// come up to a second late.
func nflog(group uint16) Rule {
	return Rule{
		fmt.Sprintf("log group %d snaplen %d queue-threshold 1", group, snapLen),
		[]expr{logGroup(group)},
	}
}

// kernelLog writes to the kernel's log. The limit is in this rule alone, so that the
// reports of nflog have none.
func kernelLog(prefix string) Rule {
	return Rule{"limit rate 10/second log prefix " + strconv.Quote(prefix), []expr{limit(10), logPrefix(prefix)}}
}

func rejectTCP() Rule {
	return Rule{"meta l4proto tcp reject with tcp reset", []expr{
		meta(unix.NFT_META_L4PROTO), equal{unix.IPPROTO_TCP}, reject{unix.NFT_REJECT_TCP_RST, 0},
	}}
}

// rejectRest answers with port unreachable, of all ICMP codes the one that gives a connected UDP socket
// ECONNREFUSED.
func rejectRest() Rule {
	return Rule{"reject", []expr{reject{unix.NFT_REJECT_ICMPX_UNREACH, unix.NFT_REJECT_ICMPX_PORT_UNREACH}}}
}
