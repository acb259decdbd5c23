/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Points with a socket and no packet: what applications send and read, what TCP retransmits,
 * and its round trip time. */
#ifndef CMONLAB_SOCKET_H
#define CMONLAB_SOCKET_H

#define AF_INET6 10

#ifdef READABLE_TYPE
#define TCP_FIELD(sk, offset) (*(u32 *)readable((u64)(sk) + (offset), READABLE_TYPE))
#else
#define TCP_FIELD(sk, offset) ({ \
	u32 field_ = 0; \
	bpf_probe_read_kernel(&field_, sizeof(field_), (u8 *)(sk) + (offset)); \
	field_; })
#endif

/* Both ends of a socket's connection. */
struct ends {
	u8 local[16], peer[16]; /* IPv4 in the first four bytes */
	u16 local_port, peer_port;
	u8 ipv6;
};

static __always_inline int find_ends(struct sock *sk, struct ends *e)
{
	u64 *local = (u64 *)e->local, *peer = (u64 *)e->peer;

	e->local_port = sk->__sk_common_skc_num;
	e->peer_port = bpf_ntohs(sk->__sk_common_skc_dport);
	/* An IPv6 socket may carry IPv4: then its addresses are mapped ones, ::ffff:a.b.c.d. */
	local[0] = sk->__sk_common_skc_v6_rcv_saddr;
	local[1] = sk->__sk_common_skc_v6_rcv_saddr_8;
	peer[0] = sk->__sk_common_skc_v6_daddr;
	peer[1] = sk->__sk_common_skc_v6_daddr_8;
	e->ipv6 = sk->__sk_common_skc_family == AF_INET6 && (peer[0] || (peer[1] & 0xffffffff) != 0xffff0000);
	if (!e->ipv6) {
		local[0] = sk->__sk_common_skc_rcv_saddr;
		peer[0] = sk->__sk_common_skc_daddr;
	}
	return 0;
}

/* Make a header as a segment of this flow has it, and return the rules that match it. */
static __always_inline u32 match_header(const struct hop *hop, const u8 *source, const u8 *destination)
{
	u8 header[MOST] __attribute__((aligned(8))) = {};
	u32 l4 = hop->shape & SHAPE_IPV6 ? 40 : 20;
	u16 length = hop->aux > 1460 ? 1460 : hop->aux;

	if (hop->shape & SHAPE_IPV6) {
		header[0] = 0x60;
		*(u16 *)(header + 4) = bpf_htons(20 + length);
		header[6] = hop->proto;
		*(u64 *)(header + 8) = *(u64 *)source;
		*(u64 *)(header + 16) = *(u64 *)(source + 8);
		*(u64 *)(header + 24) = *(u64 *)destination;
		*(u64 *)(header + 32) = *(u64 *)(destination + 8);
		*(u16 *)(header + 40) = bpf_htons(hop->sport);
		*(u16 *)(header + 42) = bpf_htons(hop->dport);
		header[52] = 0x50;
		header[53] = 0x10;
	} else {
		header[0] = 0x45;
		*(u16 *)(header + 2) = bpf_htons(40 + length);
		header[8] = 64;
		header[9] = hop->proto;
		*(u32 *)(header + 12) = *(u32 *)source;
		*(u32 *)(header + 16) = *(u32 *)destination;
		*(u16 *)(header + 20) = bpf_htons(hop->sport);
		*(u16 *)(header + 22) = bpf_htons(hop->dport);
		header[32] = 0x50;
		header[33] = 0x10;
	}
	return rules_match(header, l4 + 20, l4 + 20 + length, 0);
}

/* Fill in the flow and return the rules that match it. */
static __always_inline u32 flow_of(struct sock *sk, struct hop *hop, int incoming)
{
	struct ends e;
	u32 mask;

	find_ends(sk, &e);
	hop->proto = PROTO_TCP;
	hop->shape = e.ipv6 ? SHAPE_IPV6 : 0;
	hop->sport = incoming ? e.peer_port : e.local_port;
	hop->dport = incoming ? e.local_port : e.peer_port;
	const u8 *source = incoming ? e.peer : e.local, *destination = incoming ? e.local : e.peer;

	hop->saddr = e.ipv6 ? fold6(source) : *(u32 *)source;
	hop->daddr = e.ipv6 ? fold6(destination) : *(u32 *)destination;
	mask = match_header(hop, source, destination);
	if (!mask)
		return 0;
	hop->skb = number_of((u64)sk);
	hop->netns = sk->__sk_common_skc_net_net->ns_inum;
	hop->ifindex = 0;
	hop->ident = 0;
	hop->tcp_flags = 0;
	hop->detail = 1;
	return mask;
}

/* Count and aggregate a socket's event, and return the rules that record it. Samples are of
 * packets. Events of TCP sockets are in every sample, because packets of the sample may need
 * them. Reads of datagrams are recorded only without sampling: otherwise it is unknown which
 * datagram was read. */
static __always_inline u32 account(struct hop *hop, u32 mask, u8 kind, u64 ns, struct counters *count)
{
	if (!mask) {
		count->unmatched++;
		return 0;
	}
	hop->len_bytes = hop->aux;
	mask = take(mask, hop, hop->proto == PROTO_UDP ? 0xffffffff : 0, count);
	if (!mask)
		return 0;
	hop->ts_ns = bpf_ktime_get_ns();
	if (mask & AGGREGATE) {
		struct entry entry = {.kind = kind, .bucket = bucket_of(ns), .ns = ns};

		count_fate(mask, add_for_rules(mask & AGGREGATE, hop, entry, count), count);
	}
	return mask & CAPTURE;
}

/* Record a socket's event where a rule takes it; return the rules that do. */
static __always_inline int report(struct hop *hop, u32 mask, u8 kind, u64 ns, struct counters *count)
{
	mask = account(hop, mask, kind, ns, count);
	if (mask)
		write_hop(hop, mask, hop->ts_ns, count);
	return mask;
}

/* Data handed to a TCP socket: once per iteration of the loop in net/ipv4/tcp.c,
 * tcp_sendmsg_locked. */
#ifdef TCP_SENDS_HAVE_TRACEPOINT
int on_tcp_sendmsg_locked(void *ctx)
{
	struct sock *sk = ARGUMENT(struct sock *, 0);
	u8 *message = ARGUMENT(u8 *, 1);
	struct counters *count = counters_of(POINT_TCP_SENDMSG_LOCKED);
	struct hop hop;
	u64 left = 0;

	if (!count)
		return 0;
	count->seen++;
	bpf_probe_read_kernel(&left, sizeof(left), message + MESSAGE_LEFT);
	hop.aux = left > 0xffffffff ? 0xffffffff : left;
	hop.point = POINT_TCP_SENDMSG_LOCKED;
	hop.seq = TCP_FIELD(sk, TCP_WRITE_SEQ);
	return report(&hop, flow_of(sk, &hop, 0), CELL_HOP, 0, count), 0;
}
#endif

/* A segment is retransmitted: its sequence numbers are in the control buffer
 * (include/net/tcp.h, struct tcp_skb_cb). With TCP_RETRANSMIT_HAS_ERROR, failed attempts pass
 * here too, with their error: nothing was sent then, and RetransSegs does not count them
 * (except those that the sender's own queue dropped). */
int on_tcp_retransmit_skb(void *ctx)
{
	struct sock *sk = ARGUMENT(struct sock *, 0);
	struct sk_buff *skb = ARGUMENT(struct sk_buff *, 1);
	struct counters *count = counters_of(POINT_TCP_RETRANSMIT_SKB);
	struct hop hop;

	if (!count)
		return 0;
#ifdef TCP_RETRANSMIT_HAS_ERROR
	if (ARGUMENT(u32, 2))
		return 0;
#endif
	count->seen++;
	hop.seq = TCP_FIELD(skb, CONTROL_BUFFER);
	hop.aux = TCP_FIELD(skb, CONTROL_BUFFER + 4) - hop.seq;
	hop.point = POINT_TCP_RETRANSMIT_SKB;
	return report(&hop, flow_of(sk, &hop, 0), CELL_RETRANSMIT, 0, count), 0;
}

int on_tcp_probe(void *ctx)
{
	struct sock *sk = ARGUMENT(struct sock *, 0);
	struct counters *count = counters_of(POINT_TCP_PROBE);
	struct hop hop;

	if (!count)
		return 0;
	count->seen++;
	hop.aux = TCP_FIELD(sk, TCP_SRTT_US) >> 3; /* in units of 1/8 us */
	hop.point = POINT_TCP_PROBE;
	hop.seq = TCP_FIELD(sk, TCP_SND_UNA);
	return report(&hop, flow_of(sk, &hop, 0), CELL_RTT, hop.aux * 1000ULL, count), 0;
}

/* Write a hop for the waking or the time slice of the task that reads. */
static __always_inline void write_task_event(struct hop *hop, u32 mask, u8 point, u64 ts_ns)
{
	struct counters *count = counters_of(point);

	if (!count)
		return;
	count->seen++;
	hop->point = point;
	write_hop(hop, mask, ts_ns, count);
}

/* Write what TASK_EVENTS asks for, each time slice once. */
static __always_inline void write_task_events(struct hop *hop, u32 mask)
{
	u32 task = number_of((u64)HIDDEN(struct task_struct *, bpf_get_current_task_btf()));
	u32 key = 0, at = (task ^ task >> 12) & (WAKINGS - 1);
	struct time_slice *slice = time_slices.lookup(&key);
	struct waking *waking = wakings.lookup(&at);

	hop->aux = hop->ts_ns;
	if (TASK_EVENTS & TASK_WOKEN && waking && waking->task == task) {
		waking->task = 0;
		write_task_event(hop, mask, POINT_SCHED_WAKING, waking->ts_ns);
	}
	if (TASK_EVENTS & TASK_RUNS && slice && slice->task == task && slice->reported_ns != slice->since_ns) {
		slice->reported_ns = slice->since_ns;
		write_task_event(hop, mask, POINT_SCHED_SWITCH, slice->since_ns);
	}
}

/* Datagrams that wait in a UDP socket, in its receive queue and in the second queue that
 * reads move them to (net/ipv4/udp.c, reader_queue). */
static __always_inline u16 queued(struct sock *sk)
{
	u32 waiting = TCP_FIELD(sk, RECEIVE_QUEUE_LENGTH) + TCP_FIELD(sk, READER_QUEUE_LENGTH);

	return waiting > 0xffff ? 0xffff : waiting;
}

#define MSG_PEEK     0x0002
#define MSG_ERRQUEUE 0x2000

/* Fill in a read of a datagram and return the rules whose datagrams came to this socket. There
 * is no packet here, and no peer if the socket is not connected: user space matches reads to
 * arrivals by their order. */
static __always_inline u32 datagram_of(struct sock *sk, struct hop *hop)
{
	u32 port = sk->__sk_common_skc_num;
	u64 *reader = readers.lookup(&port);

	hop->skb = number_of((u64)sk);
	hop->saddr = hop->daddr = 0;
	hop->sport = bpf_ntohs(sk->__sk_common_skc_dport);
	hop->dport = port;
	hop->seq = 0;
	hop->netns = sk->__sk_common_skc_net_net->ns_inum;
	hop->ifindex = 0;
	hop->ident = 0;
	hop->tcp_flags = 0;
	hop->shape = 0;
	hop->proto = PROTO_UDP;
	hop->detail = queued(sk); /* before the timestamp: so it counts no datagram that is stamped later */
	return reader ? *reader & RULES_ON : 0;
}

/* A read from a socket. */
int on_sock_recv_length(void *ctx)
{
	struct sock *sk = ARGUMENT(struct sock *, 0);
	u32 length = ARGUMENT(u32, 1), flags = ARGUMENT(u32, 2), mask = 0;
	struct counters *count = counters_of(POINT_SOCK_RECV_LENGTH);
	struct hop hop;

	if (!count)
		return 0;
	count->seen++;
	hop.aux = length;
	hop.point = POINT_SOCK_RECV_LENGTH;
	if ((int)length < 0 || flags & (MSG_PEEK | MSG_ERRQUEUE)) {
		count->unmatched++;
		return 0;
	}
	if (sk->sk_protocol == PROTO_UDP) {
		mask = datagram_of(sk, &hop);
	} else if (sk->sk_protocol == PROTO_TCP && length) {
		mask = flow_of(sk, &hop, 1);
		if (mask)
			hop.seq = TCP_FIELD(sk, TCP_COPIED_SEQ) - length;
	}
	mask = report(&hop, mask, CELL_HOP, 0, count);
	if (mask && TASK_EVENTS)
		write_task_events(&hop, mask);
	return 0;
}

#endif
