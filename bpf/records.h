/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The contract between kernel and user space. The numpy dtype of a hop, the
 * counters and the point ids are derived from this file; nothing mirrors it. */
#ifndef CMONLAB_RECORDS_H
#define CMONLAB_RECORDS_H

#define CMONLAB_ABI 3

/* What a hop's shape bits say about how the packet was read. */
#define SHAPE_IPV6     0x01 /* saddr and daddr are folded, see the address table */
#define SHAPE_ENCAP    0x02 /* the fields are those of the packet inside a tunnel */
#define SHAPE_FRAGMENT 0x04 /* a later fragment: no ports, seq is its offset */
#define SHAPE_HEADER_SHIFT 3 /* above: IP and transport headers in 4-byte words, 31 at most */

/* One point passed by one packet. 56 bytes, so that a record and its turn
 * fill one cache line. Integers are in host order, addresses as on the
 * wire. */
struct hop {
	u64 ts_ns;     /* CLOCK_MONOTONIC */
	u32 skb;       /* number of the sk_buff, see number_of(); of the socket where there is none */
	u16 epoch;     /* of the rule set that made this record */
	u16 rules;     /* a bit for each rule that took the packet */
	u32 saddr;
	u32 daddr;
	u16 sport;     /* ICMP: identifier */
	u16 dport;     /* ICMP: type << 8 | code */
	u32 seq;       /* TCP: sequence number, ICMP: sequence, else hash of the payload's first 8 bytes */
	u32 len_bytes; /* of the IP packet */
	u32 netns;     /* inode number of the network namespace, 0 unknown */
	u32 ifindex;   /* unique within the namespace only, 0 unknown */
	u32 aux;       /* copied, read, to be sent: bytes; dropped: low half of the code address;
			* received: ns since the softirq began; wake, run: low half of the read's ts_ns;
			* rtt: smoothed, us */
	u16 ident;     /* IPv4 identification */
	u16 detail;    /* dropped: reason, subsystem in the upper 4 bits; read: datagrams
			* left in the socket; else GSO segments */
	u8 point;
	u8 proto;      /* IP protocol number */
	u8 tcp_flags;
	u8 shape;
};
_Static_assert(sizeof(struct hop) == 56, "a hop and its turn fill one cache line");

/* A place for one record. */
struct slot {
	struct hop hop;
	u64 turn; /* written last: how many slots of the ring were taken up to this one, ever */
};
_Static_assert(sizeof(struct slot) == 64, "a slot is one cache line");

/* A CPU's slots, which are used in turn. */
struct ring {
	u64 taken; /* ever */
	u64 read;  /* of these; written by user space */
	u64 unused[6];
};
_Static_assert(sizeof(struct ring) == 64, "a ring is one cache line");

/* What one rule made of the packets that passed one point. */
struct tally {
	u64 packets;     /* matched */
	u64 bytes;
	u64 sampled_out;
	u64 limited;    /* beyond the rate limit */
	u64 overflowed; /* for want of room in the aggregate */
	u64 zero;       /* always; which the verifier does not know */
	u64 unused[2];
};

/* What one CPU counts at one point, a cache line for each kind: lines that are not at
 * hand are most of a program's cost. What became of the packets: each has one fate.
 * seen is counted on entry and is no sum, so that the ledger's balance is a check. */
struct counters {
	u64 seen;
	u64 unmatched;   /* no rule wanted it */
	u64 sampled_out; /* rules wanted it; it is in no rule's sample, or beyond their rate limits */
	u64 counted;     /* by rules that only count */
	u64 aggregated;
	u64 overflowed;  /* not aggregated, for want of room */
	u64 recorded;
	u64 lost;
	struct tally rules[RULES];
};
_Static_assert(sizeof(struct counters) == (1 + RULES) * 64, "a cache line each");

/* A rule, as the programs need it beside its filter. */
struct rule {
	u32 sample;  /* a packet is in the sample if its hash is not above */
	u32 limit;   /* records in a window of 2^27 ns (0.134 s) over all CPUs, 2^32 - 1 without limit */
	u64 window;  /* number of the current window */
	u64 used;    /* records in it */
};

/* What an aggregate counts: one cell of a histogram, or one sum. */
#define CELL_HOP        0 /* a packet whose hop before is not known; bucket 0 */
#define CELL_SEGMENT    1 /* the time since the hop before, which was at point `from` */
#define CELL_TOTAL      2 /* the time since the packet's first hop */
#define CELL_DROP       3 /* bucket: reason as in hop.detail */
#define CELL_RETRANSMIT 4
#define CELL_RTT        5 /* smoothed round trip time of a connection */

struct cell_key {
	u32 saddr;
	u32 daddr;
	u16 sport; /* ports: 0 unless the rule aggregates by flow */
	u16 dport;
	u32 netns;
	u32 ifindex;
	u16 bucket; /* of the time in ns, see bucket_of() */
	u8 kind;
	u8 from;
	u8 point;
	u8 proto;
	u8 shape; /* SHAPE_IPV6 alone */
	u8 rule;
	u32 hash; /* of the other fields; 0: the cell is free */
};
_Static_assert(sizeof(struct cell_key) == 32, "no padding");

struct cell {
	struct cell_key key;
	u64 packets;
	u64 bytes;  /* of IP packets */
	u64 sum_ns;
	u64 unused;
};
_Static_assert(sizeof(struct cell) == 64, "a cell is one cache line");

/* What a CPU does, and since when. */
struct turn {
	u64 since_ns;
	u64 task;       /* that runs, see number_of(): a pid changes when a thread calls exec */
	u64 told_ns;    /* since_ns of the turn that a read has told of */
	u64 softirq_ns; /* when the last receive softirq began */
};

/* When a task was last woken. */
struct waking {
	u64 task;
	u64 ts_ns;
};

/* The last point that a packet passed, for aggregates. A slot is taken by whichever
 * packet came last, so `when` says whose it is in the same word as the time. */
struct passage {
	u64 when;  /* ns << 24 | 24 bits that tell the packet */
	u64 first; /* ns of its first hop << 24 | point of its last */
};

/* What all programs look at first. */
struct state {
	u32 epoch; /* programs of another one are silent */
	u32 side;  /* which of the two tables of cells is written to */
};

#define POINT_BLIND 255 /* no point: from ts_ns to saddr | daddr << 32, tracepoints were silent on this CPU */

/* An IPv6 address as on the wire. */
struct address6 {
	u64 first;
	u64 second;
};

#endif
