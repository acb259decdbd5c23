/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The interface between kernel and user space. The numpy dtypes of records, counters and
 * cells come from the compiled structs; tests compare the few numbers that Python repeats. */
#ifndef CMONLAB_RECORDS_H
#define CMONLAB_RECORDS_H

#define CMONLAB_ABI 3

/* Bits of hop.shape: how the packet was read. */
#define SHAPE_IPV6     0x01 /* saddr and daddr are folded, see the address table */
#define SHAPE_ENCAP    0x02 /* the fields are those of the packet inside a tunnel */
#define SHAPE_FRAGMENT 0x04 /* a later fragment: no ports, seq is its offset */
#define SHAPE_HEADER_SHIFT 3 /* above: length of IP and transport headers in 4-byte words, 31 at most */

/* Numbers that user space needs to read or write the structs below. */
#define OBJECT_SHIFT 6            /* hop.skb: addresses in units of 64 bytes, see number_of() */
#define REASON_SUBSYSTEM_SHIFT 12 /* hop.detail of a drop: the reason's subsystem above, its number below */
#define LIMIT_WINDOW_SHIFT 27     /* rate limits count records in windows of 2^27 ns (0.134 s) */
#define BUCKET_BITS 5             /* cell_key.bucket: 2^5 buckets for each doubling of the time */

/* One point passed by one packet. It has 56 bytes, so that a record and its sequence
 * number fill one cache line. Integers are in host order, addresses as on the wire. */
struct hop {
	u64 ts_ns;     /* CLOCK_MONOTONIC */
	u32 skb;       /* number of the sk_buff, or of the socket at points without one; see number_of() */
	u16 epoch;     /* of the rule set that made this record */
	u16 rules;     /* one bit per rule that took the packet */
	u32 saddr;
	u32 daddr;
	u16 sport;     /* ICMP: identifier */
	u16 dport;     /* ICMP: type << 8 | code */
	u32 seq;       /* TCP: sequence number, ICMP: sequence, else hash of the payload's first 8 bytes */
	u32 len_bytes; /* of the IP packet */
	u32 netns;     /* inode number of the network namespace, 0 unknown */
	u32 ifindex;   /* unique within the namespace only, 0 unknown */
	u32 aux;       /* copy, read, send: bytes; drop: low half of the code address; receive: ns
			* since the softirq began; wake, run: low half of the read's ts_ns;
			* rtt: smoothed round trip time in us */
	u16 ident;     /* IPv4 identification */
	u16 detail;    /* drop: reason, see REASON_SUBSYSTEM_SHIFT; read: datagrams left in the
			* socket; else GSO segments */
	u8 point;
	u8 proto;      /* IP protocol number */
	u8 tcp_flags;
	u8 shape;
};
_Static_assert(sizeof(struct hop) == 56, "a hop and its sequence number fill one cache line");

/* Room for one record. */
struct slot {
	struct hop hop;
	u64 sequence; /* written last: number of the record in its ring, counted from 1 */
};
#define SLOT_BYTES 64
_Static_assert(sizeof(struct slot) == SLOT_BYTES, "a slot is one cache line");

/* How far a CPU's ring of slots was written and read. */
struct ring {
	u64 taken; /* slots taken since the start */
	u64 read;  /* slots read since the start; written by user space */
	u64 unused[6];
};
_Static_assert(sizeof(struct ring) == 64, "a ring is one cache line");

/* What one rule did with the packets that passed one point. */
struct tally {
	u64 packets;     /* matched */
	u64 bytes;
	u64 sampled_out;
	u64 limited;    /* left out by the rate limit */
	u64 overflowed; /* not aggregated: no free cell */
	u64 zero;       /* always 0, but the verifier takes it for any number */
	u64 unused[2];
};

/* What one CPU counts at one point. Cache misses are most of a program's cost, so the
 * counters of all packets share one cache line and each rule has another. Every packet
 * is counted in `seen` on entry and in exactly one of the other seven when its fate is
 * known; `seen` is not computed from them, so that comparing both is a check. */
struct counters {
	u64 seen;
	u64 unmatched;   /* no rule matched it */
	u64 sampled_out; /* rules matched it, but all left it out for their sample or rate limit */
	u64 counted;     /* taken only by rules of mode count */
	u64 aggregated;
	u64 overflowed;  /* not aggregated: no free cell */
	u64 recorded;
	u64 lost;        /* not recorded: the ring was full */
	struct tally rules[RULES];
};
_Static_assert(sizeof(struct counters) == (1 + RULES) * 64, "a cache line each");

/* What the programs read of a rule at run time. Its filter and mode are in the code. */
struct rule {
	u32 sample;  /* a packet is in the sample if its hash is at most this */
	u32 limit;   /* records per window on all CPUs together, 2^32 - 1 without limit */
	u64 window;  /* number of the current window: time >> LIMIT_WINDOW_SHIFT */
	u64 used;    /* records in it */
};

/* cell_key.kind: what a cell of an aggregate counts. */
#define CELL_HOP        0 /* a packet whose previous hop is not known; bucket 0 */
#define CELL_SEGMENT    1 /* the time since the previous hop, which was at point `from` */
#define CELL_TOTAL      2 /* the time since the packet's first hop */
#define CELL_DROP       3 /* bucket: reason as in hop.detail */
#define CELL_RETRANSMIT 4
#define CELL_RTT        5 /* smoothed round trip time of a connection */

struct cell_key {
	u32 saddr;
	u32 daddr;
	u16 sport; /* both ports are 0 unless the rule aggregates by flow */
	u16 dport;
	u32 netns;
	u32 ifindex;
	u16 bucket; /* of the time in ns, see bucket_of() */
	u8 kind;
	u8 from;
	u8 point;
	u8 proto;
	u8 shape; /* SHAPE_IPV6 or 0 */
	u8 rule;
	u32 hash; /* of the other fields; 0 marks a free cell */
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

/* The task that runs on a CPU, and since when. */
struct time_slice {
	u64 since_ns;    /* 0: not known yet */
	u64 task;        /* see number_of(); not the pid, which changes when a thread calls exec */
	u64 reported_ns; /* since_ns of the time slice that a read has reported last */
	u64 softirq_ns;  /* when the last receive softirq began */
};

/* When a task was last woken. */
#define WAKINGS 4096 /* elements of the map, a power of two */

struct waking {
	u64 task;
	u64 ts_ns;
};

/* The last point that a packet passed, for aggregates. Packets share a slot and the last
 * one overwrites it, so `when` holds the time and the packet's tag in one word. */
struct passage {
	u64 when;  /* ns << 24 | 24 bits that identify the packet, see tag_of() */
	u64 first; /* ns of its first hop << 24 | point of its last hop */
};

/* What every program reads first. */
struct state {
	u32 epoch; /* of the active rule set; programs of other epochs do nothing */
	u32 side;  /* which of the two tables of cells is written to, 0 or 1 */
};

/* hop.point of a record that is no hop: from ts_ns to (saddr | daddr << 32) no tracepoint
 * fired on this CPU, see time_slices.h. */
#define POINT_TRACE_GAP 255


/* An IPv6 address as on the wire. */
struct address6 {
	u64 first;
	u64 second;
};

#endif
