/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What one writes with bcc after its tutorial: raw tracepoints, reads through
 * bpf_probe_read_kernel, one ring buffer. The records are cmonlab's, of the
 * packets of one port (PROTOCOL, PORT). */
#include "kernel.h"
#include "records.h"

BPF_RINGBUF_OUTPUT(events, EVENTS_PAGES);
BPF_ARRAY(lost, u64, 1);

#define READ(to, from) bpf_probe_read_kernel(&(to), sizeof(to), (from))

static __always_inline int stamp(struct sk_buff *skb, u8 point)
{
	struct hop hop = {.ts_ns = bpf_ktime_get_ns(), .point = point};
	struct net_device *dev;
	struct net *net;
	unsigned char *head, ip[20], l4[16];
	u16 network_header;
	u32 zero = 0;
	u64 *missed;

	READ(head, &skb->head);
	READ(network_header, &skb->network_header);
	READ(ip, head + network_header);
	if (ip[0] >> 4 != 4 || ip[9] != PROTOCOL)
		return 0;
	READ(l4, head + network_header + 4 * (ip[0] & 15));
	hop.sport = l4[0] << 8 | l4[1];
	hop.dport = l4[2] << 8 | l4[3];
	if (hop.sport != PORT && hop.dport != PORT)
		return 0;
	hop.skb = (u64)skb >> 6;
	hop.proto = ip[9];
	hop.ident = ip[4] << 8 | ip[5];
	hop.seq = l4[4] << 24 | l4[5] << 16 | l4[6] << 8 | l4[7];
	hop.tcp_flags = l4[13];
	__builtin_memcpy(&hop.saddr, ip + 12, 4);
	__builtin_memcpy(&hop.daddr, ip + 16, 4);
	READ(hop.len_bytes, &skb->len);
	READ(dev, &skb->dev);
	READ(hop.ifindex, &dev->ifindex);
	READ(net, &dev->nd_net_net);
	READ(hop.netns, &net->ns_inum);
	if (events.ringbuf_output(&hop, sizeof(hop), 0)) {
		missed = lost.lookup(&zero);
		if (missed)
			__sync_fetch_and_add(missed, 1);
	}
	return 0;
}

#define STAMP(name, id)                                              \
	RAW_TRACEPOINT_PROBE(name)                                   \
	{                                                            \
		return stamp((struct sk_buff *)ctx->args[0], id);    \
	}

STAMP(net_dev_queue, 0)
STAMP(net_dev_start_xmit, 1)
STAMP(netif_rx, 2)
STAMP(netif_receive_skb, 3)
STAMP(napi_gro_receive_entry, 4)
