/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps, and the program of every point that has a packet. cmonlab compiles this with bcc
 * once, fills in the rules (splice.h) and loads each function as BPF_TRACE_RAW_TP, so that
 * fields of kernel structs are plain loads checked against BTF, not calls of helpers.
 *
 * cmonlab/tracing/kernel/headers.py generates kernel.h from BTF: the kernel's structs with
 * each member at its true offset.
 */
#include "kernel.h"
#include "records.h"

BPF_ARRAY(states, struct state, 1);
BPF_F_TABLE("array", u32, struct counters, counters, 2 * POINTS * CPUS, BPF_F_MMAPABLE); /* see counters_of() */
BPF_ARRAY(rules, struct rule, RULES);
BPF_TABLE("hash", u32, u64, members, 16384); /* by address: the rules that select its container */
BPF_TABLE("lru_hash", u32, struct address6, addresses, 16384);
BPF_ARRAY(readers, u64, 65536); /* by local UDP port: the rules whose datagrams came to it */
BPF_PERCPU_ARRAY(time_slices, struct time_slice, 1);
BPF_ARRAY(wakings, struct waking, WAKINGS); /* by task's number; tasks may share an element, the last one overwrites it */
BPF_ARRAY(passages, struct passage, PASSAGES);
/* Cells by CPU, side and hash; which of them are taken, in order; and how many. */
BPF_F_TABLE("array", u32, struct cell, cells, 2 * CPUS * CELLS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, taken, 2 * CPUS * CELLS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, u64, taken_counts, 2 * CPUS, BPF_F_MMAPABLE);
BPF_RINGBUF_OUTPUT(barrier_shape, 1); /* never used: the inner map's type */
BPF_ARRAY_OF_MAPS(barrier, "barrier_shape", 1); /* setting its element waits for running programs */
BPF_F_TABLE("array", u32, struct ring, rings, CPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct slot, slots, CPUS, BPF_F_MMAPABLE); /* user space makes it larger: SLOTS for each CPU */

#include "packet.h"
#include "tunnel.h"
#include "take.h"
#include "aggregate.h"

/* Find and read the IP header. On transmission the stack has set network_header (PLACE_TX);
 * on reception the device has pulled the link header, and data points to it (PLACE_RX). */
static __always_inline int find_packet(struct sk_buff *skb, u64 place, struct view *v)
{
	u16 ethertype = skb->protocol;
	u64 head = (u64)skb->head, data = (u64)skb->data - head, start;

	/* The verifier takes the difference of two pointers for a number, but not a part of the
	 * sum: the compiler must not reorder it. */
	asm volatile("" : "+r"(data));
	start = place == PLACE_RX ? data : skb->network_header;

	if (ethertype != bpf_htons(ETHERTYPE_IP) && RARELY(ethertype != bpf_htons(ETHERTYPE_IPV6))) {
		if (ethertype != bpf_htons(ETHERTYPE_VLAN) || place != PLACE_RX)
			return 0;
		start += 4;
	}
	s64 linear = skb->tail - start;

	if (RARELY(linear < 20) || RARELY(start == 0xffff))
		return 0;
	if (view_read(v, head + start, linear, skb->len + data - start))
		return 0;
	return (BYTES(v)[0] & 0xd0) == 0x40; /* 4 or 6 */
}

/* Return the rules that match the packet or, in a tunnel, the inner one; then the view shows
 * the inner one. */
static __always_inline u32 find_match(struct view *v, u8 *shape)
{
	u32 mask = rules_match(BYTES(v), v->linear, v->total, v->start);
	u32 inner = inner_packet(v);

	if (RARELY(inner) && v->total > inner && v->linear >= inner + 20) {
		if (view_read(v, v->start + inner, v->linear - inner, v->total - inner))
			return 0;
		*shape = SHAPE_ENCAP;
		mask |= rules_match(BYTES(v), v->linear, v->total, v->start);
	}
	return mask;
}

static __always_inline u16 gso_segments(struct sk_buff *skb, u32 total)
{
	u16 segments = 1;

	if (total > 1500) /* reading skb_shared_info costs another cache line */
		bpf_probe_read_kernel(&segments, sizeof(segments),
				      (u8 *)((u64)skb->head + skb->end) + GSO_SEGS_OFFSET);
	return segments ? segments : 1;
}

/* What a point contributes to the hop besides the packet. */
struct site {
	struct net_device *dev; /* 0: take the socket's namespace, else the current task's */
	u64 aux; /* members of one size, or the compiler packs them into one word */
	u64 reason;
	u64 point;
	u64 place;
};

static __always_inline u32 netns_of(struct sk_buff *skb, struct net_device *dev)
{
	if (dev)
		return dev->nd_net_net->ns_inum;
	if (skb->sk) /* sent, but without a device yet; not the current task's, as TCP answers in softirqs too */
		return skb->sk->__sk_common_skc_net_net->ns_inum;
	return HIDDEN(struct task_struct *, bpf_get_current_task_btf())->nsproxy->net_ns->ns_inum;
}

static __always_inline void remember6(u32 key, const u8 *address)
{
	struct address6 full = {*(u64 *)address, *(u64 *)(address + 8)};

	if (!addresses.lookup(&key))
		addresses.update(&key, &full);
}

/* How long the receive softirq has run on this CPU, in ns. */
static __always_inline u32 softirq_age(u64 now)
{
	u32 key = 0;
	struct time_slice *slice = time_slices.lookup(&key);
	u64 age = slice && slice->softirq_ns ? now - slice->softirq_ns : 0;

	return age > 0xffffffff ? 0xffffffff : age;
}

/* Fill in the hop and return the rules that record it. If there are none, the packet's fate is
 * counted here. */
static __always_inline u32 stamp(struct sk_buff *skb, struct site site, struct hop *hop, struct counters *count)
{
	struct view v;
	u32 mask, salt = 0;
	u8 shape = 0;
	u64 now;

	count->seen++;
	if (!find_packet(skb, site.place, &v) || !(mask = find_match(&v, &shape))) {
		count->unmatched++;
		return 0;
	}
	hop->shape = shape;
	hop->point = site.point;
	read_ip(hop, &v, &salt);
	salt ^= count->rules[0].zero;
	forget(hop, count->rules[0].zero);
	mask = take(mask, hop, SAMPLED ? hash_of_packet(hop, salt) : 0, count);
	if (!mask)
		return 0;
	now = bpf_ktime_get_ns();
	hop->skb = number_of((u64)skb);
	hop->detail = site.reason;
	hop->ifindex = site.dev ? site.dev->ifindex : 0;
	hop->netns = netns_of(skb, site.dev);
	if (RARELY(hop->shape & SHAPE_IPV6)) {
		remember6(hop->saddr, BYTES(&v) + 8);
		remember6(hop->daddr, BYTES(&v) + 24);
	}
	if (mask & AGGREGATE)
		aggregate_hop(mask, hop, salt, now, site.dev, count);
	if (!(mask & CAPTURE))
		return 0;
	if (site.point == POINT_NETIF_RECEIVE_SKB && hop->proto == PROTO_UDP)
		remember_reader(hop->dport, mask & CAPTURE);
	hop->aux = site.point == POINT_NETIF_RECEIVE_SKB ? softirq_age(now) : site.aux;
	if (site.point != POINT_KFREE_SKB)
		hop->detail = gso_segments(skb, v.total);
	hop->ts_ns = now;
	return mask & CAPTURE;
}

static __always_inline int trace(struct sk_buff *skb, struct site site)
{
	struct counters *count = counters_of(site.point);
	struct hop hop;
	u32 mask;

	if (!count)
		return 0;
	mask = stamp(skb, site, &hop, count);
	if (mask)
		write_hop(&hop, mask, hop.ts_ns, count);
	return 0;
}

/* Which of a tracepoint's or function's arguments is the packet. */
static __always_inline struct sk_buff *packet_argument(void *ctx)
{
	u64 which = PACKET_ARGUMENT;

	if (which == 0)
		return ARGUMENT(struct sk_buff *, 0);
	if (which == 1)
		return ARGUMENT(struct sk_buff *, 1);
	if (which == 2)
		return ARGUMENT(struct sk_buff *, 2);
	return ARGUMENT(struct sk_buff *, 3);
}

/* The program of every point that has a packet. It is loaded once per point; POINT_ID is then a
 * constant, and the verifier removes the code of other points. */
int on_packet(void *ctx)
{
	struct sk_buff *skb = packet_argument(ctx);
	u32 point = POINT_ID;

	if (point == POINT_QDISC_DEQUEUE && !skb) /* the queue was empty */
		return 0;
	struct site site = {.dev = skb->dev, .point = point, .place = PACKET_PLACE};

	if (point == POINT_KFREE_SKB) {
		site.aux = (u32)ARGUMENT(u64, 1);
#ifdef KFREE_SKB_HAS_REASON
		u32 reason = ARGUMENT(u32, 2);

		site.reason = (reason >> 16) << REASON_SUBSYSTEM_SHIFT | (reason & ((1 << REASON_SUBSYSTEM_SHIFT) - 1));
#endif
	}
#ifndef READS_HAVE_TRACEPOINT
	/* Without sock_recv_length, a read is seen where the reader's system call copies the
	 * payload out; then skb->dev is no device any more. Small datagrams are copied without
	 * that point, and their reader frees them through consume_skb (net/ipv4/udp.c,
	 * skb_consume_udp): UDP keeps scratch data in skb->dev then, which does not look like a
	 * kernel address. */
	if (point == POINT_SKB_COPY_DATAGRAM_IOVEC)
		site.aux = ARGUMENT(u32, 1);
	if (point == POINT_SKB_CONSUME_UDP && (s64)skb->dev <= 0)
		return 0;
	if (point == POINT_SKB_COPY_DATAGRAM_IOVEC || point == POINT_SKB_CONSUME_UDP)
		site.dev = 0;
#endif
	return trace(skb, site);
}

#include "socket.h"
#include "time_slices.h"
