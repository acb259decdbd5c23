/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One body, many typed raw tracepoints. cmonlab compiles this with bcc and
 * loads each function as BPF_TRACE_RAW_TP, so that fields of kernel structs are
 * plain loads checked against BTF, and not helper calls.
 *
 * Handed in by the loader:
 *   kernel.h  the kernel's structs at their true offsets, generated from BTF
 *   rule.h    rule_matches(), generated from libpcap's compiled program
 */
#include "kernel.h"
#include "records.h"

BPF_ARRAY(layout, struct hop, 1); /* never used: tells user space the record's fields */
BPF_PERCPU_ARRAY(counters, struct counters, POINTS);
BPF_TABLE("lru_hash", u32, struct address6, addresses, 16384);
BPF_ARRAY(udp_ports, u64, 1024); /* a bit for each local port that matched datagrams came to */
BPF_PERCPU_ARRAY(turns, struct turn, 1); /* whose turn it is on a CPU */
BPF_RINGBUF_OUTPUT(ring_shape, 1); /* never used: the inner map's type */
BPF_ARRAY_OF_MAPS(rings, "ring_shape", CPUS);

#include "packet.h"
#include "rule.h"

/* A pointer that bcc's rewriter does not follow: it would turn each checked
 * load into a bpf_probe_read call. */
#define HIDDEN(type, pointer) ({ \
	type hidden_; \
	asm volatile("%0 = %1" : "=r"(hidden_) : "r"(pointer)); \
	hidden_; })
#define ARGUMENT(type, n) ({ \
	type argument_; \
	asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(argument_) : "r"(ctx), "i"((n) * 8)); \
	argument_; })

enum place { PLACE_TX, PLACE_RX };

/* Where the IP header is: on the way out the stack has set network_header, on
 * the way in the device has pulled the link header and nothing is set yet. */
static __always_inline int find_packet(struct sk_buff *skb, int place, struct view *v)
{
	u16 ethertype = bpf_ntohs(skb->protocol);
	u64 head = (u64)skb->head;
	u32 start = skb->network_header, data = (u64)skb->data - head;

	if (place == PLACE_RX)
		start = data;
	if (ethertype == ETHERTYPE_VLAN && place == PLACE_RX)
		start += 4;
	else if (ethertype != ETHERTYPE_IP && ethertype != ETHERTYPE_IPV6)
		return 0;
	if (start == 0xffff || start > skb->tail)
		return 0;
	if (view_read(v, (u8 *)(head + start), skb->tail - start, skb->len + data - start))
		return 0;
	return (v->bytes[0] >> 4) == 4 || (v->bytes[0] >> 4) == 6;
}

static __always_inline int find_match(struct view *v, u8 *shape)
{
	u32 inner;
	int matched = rule_matches(v);

	inner = tunnel_inner(v);
	if (inner) {
		if (v->total <= inner || v->linear <= inner)
			return matched;
		if (view_read(v, v->start + inner, v->linear - inner, v->total - inner))
			return 0;
		*shape = SHAPE_ENCAP;
		matched = matched || rule_matches(v);
	}
	return matched;
}

static __always_inline u16 gso_segments(struct sk_buff *skb, const struct view *v)
{
	u16 segments = 1;

	if (v->total > 1500) /* the shared info is another cache line: only where it can matter */
		bpf_probe_read_kernel(&segments, sizeof(segments),
				      (u8 *)((u64)skb->head + skb->end) + GSO_SEGS_OFFSET);
	return segments ? segments : 1;
}

/* What a point knows besides the packet. */
struct site {
	struct net_device *dev; /* 0: in process context, take the current task's namespace */
	u32 aux;
	u16 reason;
	u8 point;
	u8 place;
};

static __always_inline u32 netns_of(struct net_device *dev)
{
	if (dev)
		return dev->nd_net_net->ns_inum;
	return HIDDEN(struct task_struct *, bpf_get_current_task_btf())->nsproxy->net_ns->ns_inum;
}

static __always_inline void remember6(u32 key, const u8 *address)
{
	struct address6 full = {*(u64 *)address, *(u64 *)(address + 8)};

	if (!addresses.lookup(&key))
		addresses.update(&key, &full);
}

static __always_inline void remember_port(u16 port)
{
	u32 word = port >> 6;
	u64 *bits = udp_ports.lookup(&word), bit = 1ULL << (port & 63);

	if (bits && !(*bits & bit))
		__sync_fetch_and_or(bits, bit);
}

static __always_inline int is_remembered(u16 port)
{
	u32 word = port >> 6;
	u64 *bits = udp_ports.lookup(&word);

	return bits && *bits >> (port & 63) & 1;
}

static __always_inline struct hop *reserve(struct counters *count)
{
	u32 cpu = bpf_get_smp_processor_id();
	u64 now = bpf_ktime_get_ns();
	void *ring = rings.lookup(&cpu);
	struct hop *hop = ring ? bpf_ringbuf_reserve(ring, sizeof(*hop), 0) : 0;

	if (!hop) {
		count->lost++;
		return 0;
	}
	count->recorded++;
	hop->ts_ns = now;
	return hop;
}

static __always_inline int trace(struct sk_buff *skb, struct site site)
{
	u32 key = site.point;
	struct counters *count = counters.lookup(&key);
	struct view v;
	struct hop *hop;
	u8 shape = 0;

	if (!count)
		return 0;
	count->seen++;
	if (!find_packet(skb, site.place, &v) || !find_match(&v, &shape)) {
		count->unmatched++;
		return 0;
	}
	hop = reserve(count);
	if (!hop)
		return 0;
	hop->skb = (u64)skb;
	hop->sport = hop->dport = 0;
	hop->seq = 0;
	hop->ident = 0;
	hop->tcp_flags = 0;
	hop->shape = shape;
	hop->point = site.point;
	hop->aux = site.aux;
	hop->detail = site.point == POINT_KFREE_SKB ? site.reason : gso_segments(skb, &v);
	hop->ifindex = site.dev ? site.dev->ifindex : 0;
	hop->netns = netns_of(site.dev);
	read_ip(hop, &v);
	if (hop->shape & SHAPE_IPV6) {
		remember6(hop->saddr, v.bytes + 8);
		remember6(hop->daddr, v.bytes + 24);
	}
	if (site.point == POINT_NETIF_RECEIVE_SKB && hop->proto == PROTO_UDP)
		remember_port(hop->dport);
	bpf_ringbuf_submit(hop, BPF_RB_NO_WAKEUP);
	return 0;
}

/* ---- the points: where in the stack, what they say ------------------------ */

#define AT_DEVICE(tracepoint, id, where) \
int on_##tracepoint(void *ctx) \
{ \
	struct sk_buff *skb = ARGUMENT(struct sk_buff *, 0); \
	struct site site = {.dev = skb->dev, .point = id, .place = where}; \
	return trace(skb, site); \
}

AT_DEVICE(net_dev_queue, POINT_NET_DEV_QUEUE, PLACE_TX)
AT_DEVICE(net_dev_start_xmit, POINT_NET_DEV_START_XMIT, PLACE_TX)
AT_DEVICE(netif_rx, POINT_NETIF_RX, PLACE_RX)
AT_DEVICE(netif_receive_skb, POINT_NETIF_RECEIVE_SKB, PLACE_RX)
AT_DEVICE(napi_gro_receive_entry, POINT_NAPI_GRO_RECEIVE_ENTRY, PLACE_RX)
AT_DEVICE(consume_skb, POINT_CONSUME_SKB, PLACE_TX)

/* Delivery: the reader's own system call copies the payload out. skb->dev is
 * not a device any more (UDP keeps scratch data there). */
int on_skb_copy_datagram_iovec(void *ctx)
{
	struct sk_buff *skb = ARGUMENT(struct sk_buff *, 0);
	struct site site = {.point = POINT_SKB_COPY_DATAGRAM_IOVEC, .place = PLACE_TX};

	site.aux = ARGUMENT(u32, 1);
	return trace(skb, site);
}

/* kfree_skb has told its reason since 5.17 (kernel c504e5c2f964). */
int on_kfree_skb(void *ctx)
{
	struct sk_buff *skb = ARGUMENT(struct sk_buff *, 0);
	struct site site = {.dev = skb->dev, .point = POINT_KFREE_SKB, .place = PLACE_TX};

	site.aux = (u32)ARGUMENT(u64, 1);
#ifdef KFREE_SKB_HAS_REASON
	u32 reason = ARGUMENT(u32, 2);

	site.reason = (reason >> 16) << 12 | (reason & 0xfff);
#endif
	return trace(skb, site);
}

/* Datagrams that wait in a UDP socket: reads drain the receive queue through a
 * second one (net/ipv4/udp.c, reader_queue). */
static __always_inline u16 queued(struct sock *sk)
{
	u32 received = 0, taken_over = 0;

	bpf_probe_read_kernel(&received, sizeof(received), (u8 *)sk + RECEIVE_QUEUE_LENGTH);
	bpf_probe_read_kernel(&taken_over, sizeof(taken_over), (u8 *)sk + READER_QUEUE_LENGTH);
	received += taken_over;
	return received > 0xffff ? 0xffff : received;
}

#define MSG_PEEK     0x0002
#define MSG_ERRQUEUE 0x2000

/* A read from a UDP socket. Small datagrams are copied without passing
 * skb_copy_datagram_iovec (net/ipv4/udp.c, copy_linear_skb), and there is no
 * packet here any more: user space joins reads to arrivals in order. */
int on_sock_recv_length(void *ctx)
{
	struct sock *sk = ARGUMENT(struct sock *, 0);
	u32 length = ARGUMENT(u32, 1), flags = ARGUMENT(u32, 2), key = POINT_SOCK_RECV_LENGTH;
	struct counters *count = counters.lookup(&key);
	struct hop *hop;
	u16 left;

	if (!count)
		return 0;
	count->seen++;
	if ((int)length < 0 || flags & (MSG_PEEK | MSG_ERRQUEUE) || sk->sk_protocol != PROTO_UDP ||
	    !is_remembered(sk->__sk_common_skc_num)) {
		count->unmatched++;
		return 0;
	}
	left = queued(sk); /* before the timestamp: no datagram is left that was stamped later */
	hop = reserve(count);
	if (!hop)
		return 0;
	hop->skb = (u64)sk;
	hop->saddr = hop->daddr = 0;
	hop->sport = bpf_ntohs(sk->__sk_common_skc_dport);
	hop->dport = sk->__sk_common_skc_num;
	hop->seq = 0;
	hop->len_bytes = length;
	hop->netns = sk->__sk_common_skc_net_net->ns_inum;
	hop->ifindex = 0;
	hop->aux = length;
	hop->ident = 0;
	hop->detail = left;
	hop->point = POINT_SOCK_RECV_LENGTH;
	hop->proto = PROTO_UDP;
	hop->tcp_flags = 0;
	hop->shape = 0;
	bpf_ringbuf_submit(hop, BPF_RB_NO_WAKEUP);
	return 0;
}

#ifdef READS_HAVE_NO_TRACEPOINT
/* sock_recv_length came with 6.3 (kernel 6e6eda44b939). Before, a datagram's reader
 * frees it through consume_skb (net/ipv4/udp.c, skb_consume_udp), and the socket's
 * queue keeps scratch data where the device was, which looks like no kernel address. */
int on_skb_consume_udp(void *ctx)
{
	struct sk_buff *skb = ARGUMENT(struct sk_buff *, 0);
	struct site site = {.point = POINT_SKB_CONSUME_UDP, .place = PLACE_TX};

	if ((s64)skb->dev <= 0)
		return 0;
	return trace(skb, site);
}
#endif

/* Tracepoints stay silent while some tasks run (a machine's own management
 * process may be kept from view), and so do the interrupts that come meanwhile:
 * packets pass unseen. The scheduler's switches tell: the task that leaves must
 * be the one that came. The record holds the interval: ts_ns and skb. */
int on_sched_switch(void *ctx)
{
	struct task_struct *leaves = ARGUMENT(struct task_struct *, SWITCH_PREVIOUS);
	struct task_struct *comes = ARGUMENT(struct task_struct *, SWITCH_PREVIOUS + 1);
	u32 key = 0, cpu = bpf_get_smp_processor_id();
	struct turn *turn = turns.lookup(&key);
	u64 now = bpf_ktime_get_ns();
	struct hop *gap;
	void *ring;

	if (!turn)
		return 0;
	if (turn->since_ns && turn->task != (u64)leaves) {
		ring = rings.lookup(&cpu);
		gap = ring ? bpf_ringbuf_reserve(ring, sizeof(*gap), 0) : 0;
		if (gap) {
			gap->ts_ns = turn->since_ns;
			gap->skb = now;
			gap->point = POINT_BLIND;
			bpf_ringbuf_submit(gap, BPF_RB_NO_WAKEUP);
		}
	}
	turn->task = (u64)comes;
	turn->since_ns = now;
	return 0;
}
