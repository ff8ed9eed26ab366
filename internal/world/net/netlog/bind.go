package netlog

import (
	"substrate/internal/world/net/netlink"

	"golang.org/x/sys/unix"
)

// Group is the NFLOG group of every world: groups belong to a network namespace.
const Group = 1

// copyRange is how many bytes of a packet an event carries.
const copyRange = 128

// bufSize is the size in bytes of the kernel's buffer for one event. It is small so that the
// receive buffer of the socket holds hundreds of events instead of dozens.
const bufSize = 512

// ReceiveBuffer is the size in bytes of the receive buffer that a world asks for. Root gets it;
// others get what net.core.rmem_max allows, usually 208 KiB doubled. An event takes about 850 bytes
// of it, so the default holds some 250.
const ReceiveBuffer = 4 << 20

// Bind returns the request that connects a NETLINK_NETFILTER socket with an NFLOG group. Send it in
// one sendto(2) inside the world's network namespace, with CAP_NET_ADMIN over it, before the first
// packet. It asks for an acknowledgement, see [netlink.Ack]. From then on the kernel queues every
// packet that a rule logs to the group before the process that sent it gets its answer. The group
// is free again when the last descriptor of the socket is closed; until then a second socket gets
// EPERM.
//
// Older programs also bind protocol families. That is not needed, since nf_tables names the logger,
// and it would take packets away from other readers.
//
// Source: Linux net/netfilter/nfnetlink_log.c, nfulnl_recv_config.
func Bind(group uint16) []byte {
	var b netlink.Batch
	b.Grow(96)
	b.Message(unix.NFNL_SUBSYS_ULOG<<8|msgConfig, netlink.Ack)
	b.Raw(unix.AF_UNSPEC, unix.NFNETLINK_V0, byte(group>>8), byte(group))
	b.Attr(cfgCommand, 1)                     // NFULNL_CFG_CMD_BIND
	b.Attr(cfgMode, 0, 0, 0, copyRange, 2, 0) // struct nfulnl_msg_config_mode: NFULNL_COPY_PACKET
	b.Big32(cfgBufSize, bufSize)
	b.Big32(cfgTimeout, 1)   // hundredths of a second; nothing waits that long
	b.Big32(cfgThreshold, 1) // events that are gathered before they are sent
	return b.Bytes()
}

// Numbers of the messages and attributes.
//
// Source: Linux include/uapi/linux/netfilter/nfnetlink_log.h.
const (
	msgPacket = 0
	msgConfig = 1

	cfgCommand   = 1
	cfgMode      = 2
	cfgBufSize   = 3
	cfgTimeout   = 4
	cfgThreshold = 5

	attrPayload = 9
	attrUID     = 11
)
