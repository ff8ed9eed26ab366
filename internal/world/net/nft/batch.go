package nft

import (
	"encoding/binary"

	"substrate/internal/world/net/netlink"

	"golang.org/x/sys/unix"
)

// Batch returns the nf_tables transaction that makes the table. Send it in one sendto(2) on a
// NETLINK_NETFILTER socket made inside the world's network namespace, with CAP_NET_ADMIN over it.
//
// Only the last rule asks for an acknowledgement, see [netlink.Ack]. A kernel that lacks one of the
// expressions refuses the whole batch with ENOENT and leaves nothing behind.
//
// Source: Linux net/netfilter/nfnetlink.c, nfnetlink_rcv_batch; libnftnl, examples/nft-rule-add.c.
func (r Ruleset) Batch() []byte {
	var b netlink.Batch
	b.Grow(6144)
	b.Message(unix.NFNL_MSG_BATCH_BEGIN, 0)
	b.Raw(unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES)

	message(&b, unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Exclusive)
	b.Text(unix.NFTA_TABLE_NAME, r.Table)
	b.Big32(unix.NFTA_TABLE_FLAGS, 0)
	for i, s := range r.Sets {
		r.set(&b, s, uint32(i+1))
	}
	r.chain(&b)
	for i, rule := range r.Rules {
		flags := uint16(netlink.Create | netlink.Append)
		if i == len(r.Rules)-1 {
			flags |= netlink.Ack
		}
		message(&b, unix.NFT_MSG_NEWRULE, flags)
		b.Text(unix.NFTA_RULE_TABLE, r.Table)
		b.Text(unix.NFTA_RULE_CHAIN, Chain)
		list := b.Nest(unix.NFTA_RULE_EXPRESSIONS)
		for _, e := range rule.exprs {
			e.add(&b)
		}
		b.End(list)
	}

	b.Message(unix.NFNL_MSG_BATCH_END, 0)
	b.Raw(unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES)
	return b.Bytes()
}

// message begins a message of nf_tables with its struct nfgenmsg.
func message(b *netlink.Batch, typ, flags uint16) {
	b.Message(unix.NFNL_SUBSYS_NFTABLES<<8|typ, flags)
	b.Raw(unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0)
}

func (r Ruleset) set(b *netlink.Batch, s Set, id uint32) {
	// Only nft(8) knows what the numbers of types mean.
	typ, n := uint32(7), uint32(4) // ipv4_addr
	if s.V6 {
		typ, n = 8, 16 // ipv6_addr
	}
	message(b, unix.NFT_MSG_NEWSET, netlink.Create)
	b.Text(unix.NFTA_SET_TABLE, r.Table)
	b.Text(unix.NFTA_SET_NAME, s.Name)
	b.Big32(unix.NFTA_SET_FLAGS, unix.NFT_SET_INTERVAL)
	b.Big32(unix.NFTA_SET_KEY_TYPE, typ)
	b.Big32(unix.NFTA_SET_KEY_LEN, n)
	b.Big32(unix.NFTA_SET_ID, id)
	// For nft(8): the byte order of the key (type 0, length 4) is the network's (2).
	b.Attr(unix.NFTA_SET_USERDATA, append([]byte{0, 4}, binary.NativeEndian.AppendUint32(nil, 2)...)...)
}

func (r Ruleset) chain(b *netlink.Batch) {
	message(b, unix.NFT_MSG_NEWCHAIN, netlink.Create)
	b.Text(unix.NFTA_CHAIN_TABLE, r.Table)
	b.Text(unix.NFTA_CHAIN_NAME, Chain)
	b.Text(unix.NFTA_CHAIN_TYPE, "filter")
	b.Big32(unix.NFTA_CHAIN_POLICY, nfAccept)
	hook := b.Nest(unix.NFTA_CHAIN_HOOK)
	b.Big32(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_LOCAL_OUT)
	b.Big32(unix.NFTA_HOOK_PRIORITY, 0)
	b.End(hook)
}
