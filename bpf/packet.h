/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads a packet's headers, and fills the fields of a hop that no hop on the path changes:
 * addresses, ports and sequence, of IPv4 and IPv6. */
#ifndef CMONLAB_PACKET_H
#define CMONLAB_PACKET_H

#define ETHERTYPE_IP   0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100

#include "splice.h"

#define PROTO_ICMP     1
#define PROTO_TCP      6
#define PROTO_UDP      17
#define PROTO_FRAGMENT 44
#define PROTO_ICMPV6   58

/* A condition that rarely holds: its code is placed away from that of most packets. */
#define RARELY(condition) __builtin_expect(!!(condition), 0)

#define WINDOW 48 /* bytes read at once: enough for IPv4 and TCP headers, mostly in one cache line */
#define MOST   64 /* bytes read of IPv6 */

/* A view of one packet's headers. */
struct view {
	u64 words[MOST / 8]; /* a copy of the first WINDOW or MOST bytes, aligned for plain loads */
	u64 start;           /* kernel address of the IP header */
	u64 linear;          /* bytes from there on that are not in page fragments */
	u64 total;           /* bytes of the packet from there on, fragments included */
};

#define BYTES(v) ((const u8 *)(v)->words)

static __always_inline u16 be16(const u8 *p) { return bpf_ntohs(*(u16 *)p); }
static __always_inline u32 be32(const u8 *p) { return bpf_ntohl(*(u32 *)p); }

/* Since 6.2 programs can read kernel memory by plain loads through bpf_rdonly_cast()
 * (kernel a35b9af4ec2c); READABLE_TYPE is a struct that begins with a long array. The kernel
 * guards each such load by a few instructions, so whole words are loaded. Reading past a
 * short packet stays inside its buffer: skb_shared_info follows it. */
static __always_inline int view_read(struct view *v, u64 start, u64 linear, u64 total)
{
	v->start = start;
	v->linear = linear;
	v->total = total;
#ifdef READABLE_TYPE
	const u64 *from = (const u64 *)readable(start, READABLE_TYPE);

	v->words[0] = from[0];
	v->words[1] = from[1];
	v->words[2] = from[2];
	v->words[3] = from[3];
	v->words[4] = from[4];
	v->words[5] = from[5];
	return 0;
#else
	return bpf_probe_read_kernel(v->words, WINDOW, (void *)start);
#endif
}

/* Read the bytes from WINDOW to MOST. */
static __always_inline void view_rest(struct view *v)
{
#ifdef READABLE_TYPE
	const u64 *from = (const u64 *)readable(v->start + WINDOW, READABLE_TYPE);

	v->words[6] = from[0];
	v->words[7] = from[1];
#else
	v->words[6] = v->words[7] = 0;
	bpf_probe_read_kernel(v->words + 6, MOST - WINDOW, (void *)(v->start + WINDOW));
#endif
}

/* Hash two words; cmonlab/tracing/kernel/addresses.py does the same. */
static __always_inline u32 mix(u32 a, u32 b)
{
	u64 m = ((u64)a ^ 0x9e3779b97f4a7c15ULL) * 0xff51afd7ed558ccdULL;

	m ^= m >> 32;
	m = (m ^ b) * 0xc4ceb9fe1a85ec53ULL;
	return m ^ (m >> 32);
}

/* A hash of the payload's first 8 bytes, which distinguishes datagrams of one flow; 0 if they
 * are in page fragments, as they may be in the linear part at another hop. */
static __always_inline u32 payload_hash(const u8 *payload, u32 at, const struct view *v)
{
	u32 a = *(u32 *)payload, b = *(u32 *)(payload + 4);
	u32 left = v->linear > at ? v->linear - at : 0;

	if (left < 8 && left + at < v->total)
		return 0;
	left = v->total > at ? v->total - at : 0;
	if (left < 4)
		return left;
	return mix(a, left < 8 ? 0 : b);
}

/* IPv6 addresses are hashed to 32 bits in the record; points.c stores the full addresses. */
static __always_inline u32 fold6(const u8 *address)
{
	const u32 *word = (const u32 *)address;

	return mix(mix(word[0], word[1]), mix(word[2], word[3]));
}

/* Ports and sequence from the first 16 bytes of the transport header; `at` is its offset in
 * the view. `salt` becomes a field that no hop changes and that distinguishes packets of equal
 * sequence: TCP's acknowledgement number. */
static __always_inline void read_transport(struct hop *hop, const u8 *l4, u32 at, const struct view *v, u32 *salt)
{
	u32 words = at / 4;

	if (hop->proto == PROTO_TCP) {
		hop->sport = be16(l4);
		hop->dport = be16(l4 + 2);
		hop->seq = be32(l4 + 4);
		*salt = be32(l4 + 8);
		hop->tcp_flags = l4[13];
		words += l4[12] >> 4;
	} else if (hop->proto == PROTO_UDP) {
		hop->sport = be16(l4);
		hop->dport = be16(l4 + 2);
		hop->seq = payload_hash(l4 + 8, at + 8, v);
		words += 2;
	} else if (hop->proto == PROTO_ICMP || hop->proto == PROTO_ICMPV6) {
		hop->sport = be16(l4 + 4);
		hop->dport = be16(l4);
		hop->seq = be16(l4 + 6);
		words += 2;
	}
	hop->shape |= (words > 31 ? 31 : words) << SHAPE_HEADER_SHIFT;
}

/* The same for headers at unusual offsets: behind IPv4 options or IPv6 extension headers. */
static __always_inline void read_transport_far(struct hop *hop, u32 at, const struct view *v, u32 *salt)
{
	u8 l4[16] = {};

	if (at + 8 <= v->linear && !bpf_probe_read_kernel(l4, sizeof(l4), (void *)(v->start + at)))
		read_transport(hop, l4, at, v, salt);
}

static __always_inline void read_ipv4(struct hop *hop, const struct view *v, u32 *salt)
{
	const u8 *h = BYTES(v);
	u32 fragment = be16(h + 6);

	hop->proto = h[9];
	hop->saddr = *(u32 *)(h + 12);
	hop->daddr = *(u32 *)(h + 16);
	hop->ident = be16(h + 4);
	*salt = hop->ident;
	hop->len_bytes = be16(h + 2);
	if (RARELY(!hop->len_bytes)) /* BIG TCP: more than 64 KiB */
		hop->len_bytes = v->total;
	if (RARELY(fragment & 0x1fff)) {
		hop->shape |= SHAPE_FRAGMENT;
		hop->seq = fragment & 0x1fff;
		hop->shape |= (h[0] & 0x0f) << SHAPE_HEADER_SHIFT;
		return;
	}
	if (RARELY((h[0] & 0x0f) != 5))
		read_transport_far(hop, (h[0] & 0x0f) * 4, v, salt);
	else
		read_transport(hop, h + 20, 20, v, salt);
}

/* Walk at most three extension headers (RFC 8200 section 4). */
static __always_inline void read_extensions(struct hop *hop, const struct view *v, u32 *salt)
{
	u32 at = 40;
	u8 ext[8] = {};

#pragma unroll
	for (int i = 0; i < 3; i++) {
		if (hop->proto != 0 && hop->proto != 43 && hop->proto != 60 && hop->proto != PROTO_FRAGMENT)
			break;
		if (at + 8 > v->linear || bpf_probe_read_kernel(ext, sizeof(ext), (void *)(v->start + at)))
			return;
		if (hop->proto == PROTO_FRAGMENT) {
			hop->ident = be16(ext + 6);
			*salt = hop->ident;
			if (be16(ext + 2) >> 3) {
				hop->shape |= SHAPE_FRAGMENT;
				hop->seq = be16(ext + 2) >> 3;
				hop->proto = ext[0];
				return;
			}
			at += 8;
		} else {
			at += (ext[1] + 1) * 8;
		}
		hop->proto = ext[0];
	}
	read_transport_far(hop, at, v, salt);
}

static __always_inline void read_ipv6(struct hop *hop, struct view *v, u32 *salt)
{
	const u8 *h = BYTES(v);

	view_rest(v);

	hop->shape |= SHAPE_IPV6;
	hop->proto = h[6];
	hop->len_bytes = be16(h + 4) + 40;
	if (hop->len_bytes == 40)
		hop->len_bytes = v->total;
	hop->saddr = fold6(h + 8);
	hop->daddr = fold6(h + 24);
	if (hop->proto == PROTO_TCP || hop->proto == PROTO_UDP || hop->proto == PROTO_ICMPV6)
		read_transport(hop, h + 40, 40, v, salt);
	else
		read_extensions(hop, v, salt);
}

/* Fill in the fields that are read from the packet. */
static __always_inline void read_ip(struct hop *hop, struct view *v, u32 *salt)
{
	hop->sport = hop->dport = 0;
	hop->seq = 0;
	hop->ident = 0;
	hop->tcp_flags = 0;
	if (RARELY((BYTES(v)[0] >> 4) == 6))
		read_ipv6(hop, v, salt);
	else
		read_ipv4(hop, v, salt);
}

/* A packet's hash for sampling, of fields that no hop changes, not even NAT: it is the same
 * at every hop and on every host. */
static __always_inline u32 hash_of_packet(const struct hop *hop, u32 salt)
{
	return mix(hop->seq ^ hop->proto << 24, salt);
}

#endif
