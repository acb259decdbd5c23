/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Aggregates: packets, bytes and log-linear histograms of segments, by pair of addresses or
 * by flow. No record per packet leaves the kernel. */
#ifndef CMONLAB_AGGREGATE_H
#define CMONLAB_AGGREGATE_H

#define NS_40_BITS ((1ULL << 40) - 1) /* 18 minutes: longer than any packet lives */

/* The bucket of a time: 2^BUCKET_BITS buckets for each doubling, so that a bucket's middle is
 * at most 1/64 away from its ends. cmonlab/data/analysis/histogram.py does the same. */
static __always_inline u16 bucket_of(u64 ns)
{
	u32 e = 0;
	u64 rest = ns;

	if (ns < 2 << BUCKET_BITS)
		return ns;
	if (rest >> 32) { e += 32; rest >>= 32; }
	if (rest >> 16) { e += 16; rest >>= 16; }
	if (rest >> 8) { e += 8; rest >>= 8; }
	if (rest >> 4) { e += 4; rest >>= 4; }
	if (rest >> 2) { e += 2; rest >>= 2; }
	if (rest >> 1) e += 1;
	return ((e - BUCKET_BITS) << BUCKET_BITS) + (ns >> (e - BUCKET_BITS));
}

#define PROBES 8  /* cells that are tried for a key before it counts as overflowed */
#define STEP 5003 /* distance between them: odd, and more than a histogram has buckets */

/* A cell's key as four words: struct cell_key on a little-endian machine, which user space
 * assumes too. */
struct words {
	u64 word[4];
};

static __always_inline u32 hash_of(const struct words *w)
{
	u64 m = w->word[0] * 0x9e3779b97f4a7c15ULL ^ w->word[1] * 0xff51afd7ed558ccdULL ^
		w->word[2] * 0xc4ceb9fe1a85ec53ULL ^ w->word[3] * 0xd6e8feb86659fd93ULL;

	m = (m ^ m >> 32) * 0x9e3779b97f4a7c15ULL;
	return m >> 32 | 1;
}

static __always_inline int is_same(const struct cell *cell, const struct words *w)
{
	const struct words *own = (const struct words *)&cell->key;

	return own->word[3] == w->word[3] && own->word[0] == w->word[0] && own->word[1] == w->word[1] &&
	       own->word[2] == w->word[2];
}

/* Take a free cell for a key. A program of another point may have interrupted this one on the
 * same CPU and taken the cell first. Since 6.1 a program of the same point cannot interrupt
 * (kernel/trace/bpf_trace.c, __bpf_trace_run), so no other program adds the same key meanwhile. */
static __always_inline int take_free_cell(struct cell *cell, const struct words *w, u32 table, u32 at)
{
	u64 *count = taken_counts.lookup(&table), *place;
	struct words *own = (struct words *)&cell->key;
	u32 next;

	if (!count || __sync_val_compare_and_swap(&own->word[3], 0, w->word[3]))
		return 0;
	*own = *w;
	next = table * CELLS + (__sync_fetch_and_add(count, 1) & (CELLS - 1));
	place = taken.lookup(&next);
	if (place)
		*place = at;
	return 1;
}

/* The key's cell in this CPU's table. A lookup in one of the kernel's hash maps would cost
 * more than everything else here. Buckets of one histogram are adjacent, in few pages: under
 * a hypervisor a TLB miss costs more than a cache miss. */
static __always_inline struct cell *cell_of(struct words *w, u64 bucket, u32 table)
{
	u64 hash = hash_of(w);

	w->word[2] |= bucket << 32;
	w->word[3] |= hash << 32;
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < PROBES; i++) {
		u32 at = ((hash >> 1) + bucket + i * STEP) & (CELLS - 1), place = table * CELLS + at;
		struct cell *cell = cells.lookup(&place);

		if (!cell)
			return 0;
		if (is_same(cell, w) || (!cell->key.hash && take_free_cell(cell, w, table, at)))
			return cell;
	}
	return 0;
}

static __always_inline int add(struct words *w, u64 bucket, u32 table, u32 bytes, u64 ns)
{
	struct cell *cell = cell_of(w, bucket, table);

	if (!cell)
		return -1;
	cell->packets++;
	cell->bytes += bytes;
	cell->sum_ns += ns;
	return 0;
}

/* What is added to a cell: CELL_... and, of a segment, the previous point and its time. */
struct entry {
	u64 kind;
	u64 from;
	u64 bucket;
	u64 ns;
};

/* Add a packet to one cell per rule. A rule without a free cell counts it in its tally.
 * Return whether there was room for all. */
static __always_inline int add_for_rules(u32 mask, const struct hop *hop, struct entry entry, struct counters *count)
{
	u32 table = bpf_get_smp_processor_id() * 2 + (STATE->side & 1), end = RULES_END;
	u64 zero = count->rules[0].zero, failed = zero; /* unknown to the verifier, as in take() */
	u64 bucket = entry.bucket ^ zero, ns = entry.ns ^ zero;
	struct words key = {{
		(u64)hop->daddr << 32 | hop->saddr,
		(u64)hop->netns << 32,
		((entry.from << 8 | entry.kind) << 48 | hop->ifindex) ^ zero,
		(hop->shape & SHAPE_IPV6) << 16 | hop->proto << 8 | hop->point,
	}};

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < end; i++) {
		if (!(mask >> i & 1))
			continue;
		struct tally *tally = &count->rules[i & (RULES - 1)];
		struct words own = key;

		if (BY_FLOW >> i & 1)
			own.word[1] |= (u32)hop->dport << 16 | hop->sport;
		own.word[3] |= i << 24;
		if (add(&own, bucket, table, hop->len_bytes, ns)) {
			tally->overflowed++;
			failed |= zero + 1;
		}
	}
	return failed == 0;
}

/* Count the fate of an aggregated packet. */
static __always_inline void count_fate(u32 mask, int fits, struct counters *count)
{
	if (mask & CAPTURE) /* its fate is that of its record */
		return;
	if (fits)
		count->aggregated++;
	else
		count->overflowed++;
}

#define MACVLAN_PORT (1 << 8) /* enum netdev_priv_flags (include/linux/netdevice.h) */

/* 24 bits that distinguish a packet from the next one in the same buffer. */
static __always_inline u32 tag_of(const struct hop *hop, u32 salt)
{
	u64 m = ((u64)hop->seq << 32 | salt) * 0x9e3779b97f4a7c15ULL ^ hop->skb * 0xff51afd7ed558ccdULL;

	return m >> 40;
}

static __always_inline void aggregate_hop(u32 mask, const struct hop *hop, u32 salt, u64 now,
					  struct net_device *dev, struct counters *count)
{
	/* Addresses of packet buffers differ by multiples of 256 bytes. */
	u32 at = (hop->skb >> 2 ^ hop->skb >> 18) & (PASSAGES - 1), tag = tag_of(hop, salt);
	struct passage *passage = passages.lookup(&at);
	struct entry entry = {.kind = CELL_HOP};
	u64 when, first;

	if (!passage)
		return;
	when = passage->when;
	first = passage->first;
	if (hop->point == POINT_KFREE_SKB) {
		entry.kind = CELL_DROP;
		entry.bucket = hop->detail;
		passage->when = 0;
	} else if ((when & 0xffffff) == tag) {
		entry.kind = CELL_SEGMENT;
		entry.from = first & 0xff;
		entry.ns = (now - (when >> 24)) & NS_40_BITS;
		entry.bucket = bucket_of(entry.ns);
		passage->first = (first & ~0xffULL) | hop->point;
		passage->when = now << 24 | tag;
	} else {
		first = now << 24;
		passage->first = first | hop->point;
		passage->when = now << 24 | tag;
	}
	count_fate(mask, add_for_rules(mask & AGGREGATE, hop, entry, count), count);
	/* The time since the first hop, where the packet leaves its last device. Whether this
	 * namespace is its destination's is for user space to decide. The port of a bridge passes
	 * it on to another device; the device below a macvlan does not pass another point. */
	if (hop->point != POINT_NETIF_RECEIVE_SKB || entry.kind != CELL_SEGMENT || !dev)
		return;
	if (dev->rx_handler && !(dev->priv_flags & MACVLAN_PORT))
		return;
	entry.kind = CELL_TOTAL;
	entry.from = 0;
	entry.ns = (now - (first >> 24)) & NS_40_BITS;
	entry.bucket = bucket_of(entry.ns);
	add_for_rules(mask & AGGREGATE, hop, entry, count);
}

#endif
