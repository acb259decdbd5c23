/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The contract between kernel and user space. The numpy dtype of a hop, the
 * counters and the point ids are derived from this file; nothing mirrors it. */
#ifndef CMONLAB_RECORDS_H
#define CMONLAB_RECORDS_H

#define CMONLAB_ABI 1

/* What a hop's shape bits say about how the packet was read. */
#define SHAPE_IPV6     0x01 /* saddr and daddr are folded, see the address table */
#define SHAPE_ENCAP    0x02 /* the fields are those of the packet inside a tunnel */
#define SHAPE_FRAGMENT 0x04 /* a later fragment: no ports, seq is its offset */
#define SHAPE_HEADER_SHIFT 3 /* above: IP and transport headers in 4-byte words, 31 at most */

/* One point passed by one packet. 56 bytes, so that a record and its ring
 * header fill one cache line. Integers are in host order, addresses as on the
 * wire. */
struct hop {
	u64 ts_ns;     /* CLOCK_MONOTONIC */
	u64 skb;       /* address of the sk_buff, of the socket where there is none */
	u32 saddr;
	u32 daddr;
	u16 sport;     /* ICMP: identifier */
	u16 dport;     /* ICMP: type << 8 | code */
	u32 seq;       /* TCP: sequence number, ICMP: sequence, else hash of the payload's first 8 bytes */
	u32 len_bytes; /* of the IP packet */
	u32 netns;     /* inode number of the network namespace, 0 unknown */
	u32 ifindex;   /* unique within the namespace only, 0 unknown */
	u32 aux;       /* copied: bytes; dropped: low half of the code address */
	u16 ident;     /* IPv4 identification */
	u16 detail;    /* dropped: reason, subsystem in the upper 4 bits; read: datagrams
			* left in the socket; else GSO segments */
	u8 point;
	u8 proto;      /* IP protocol number */
	u8 tcp_flags;
	u8 shape;
};
_Static_assert(sizeof(struct hop) == 56, "a hop and its ring header fill one cache line");

/* What became of the packets that passed a point. seen is counted on entry and
 * is no sum, so that the ledger's balance is a check. */
struct counters {
	u64 seen;
	u64 unmatched;
	u64 sampled_out;
	u64 recorded;
	u64 lost;
};

/* The task that runs on a CPU, and since when. */
struct turn {
	u64 since_ns;
	u64 task; /* its address: a pid changes when a thread calls exec */
};

#define POINT_BLIND 255 /* no point: ts_ns to skb, tracepoints were silent on this CPU */

/* An IPv6 address as on the wire. */
struct address6 {
	u64 first;
	u64 second;
};

#endif
