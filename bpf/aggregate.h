/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Nothing per packet leaves the kernel: packets, bytes and log-linear histograms
 * of segments, by pair or flow. */
#ifndef CMONLAB_AGGREGATE_H
#define CMONLAB_AGGREGATE_H

#define NS_40_BITS ((1ULL << 40) - 1) /* 18 minutes: longer than any packet lives */

/* Thirty-two buckets for each doubling: at most 1/64 from a bucket's middle to its ends. */
static __always_inline u16 bucket_of(u64 ns)
{
	u32 e = 0;
	u64 rest = ns;

	if (ns < 64)
		return ns;
	if (rest >> 32) { e += 32; rest >>= 32; }
	if (rest >> 16) { e += 16; rest >>= 16; }
	if (rest >> 8) { e += 8; rest >>= 8; }
	if (rest >> 4) { e += 4; rest >>= 4; }
	if (rest >> 2) { e += 2; rest >>= 2; }
	if (rest >> 1) e += 1;
	return ((e - 5) << 5) + (ns >> (e - 5));
}

static __always_inline struct cell *cell_of(struct cell_key *key, u32 odd)
{
	struct cell zero = {};
	struct cell *cell = odd ? cells_odd.lookup(key) : cells_even.lookup(key);

	if (cell)
		return cell;
	if (odd) {
		cells_odd.insert(key, &zero);
		return cells_odd.lookup(key);
	}
	cells_even.insert(key, &zero);
	return cells_even.lookup(key);
}

static __always_inline int add(struct cell_key *key, u32 odd, u32 bytes, u64 ns)
{
	struct cell *cell = cell_of(key, odd);

	if (!cell)
		return -1;
	__sync_fetch_and_add(&cell->packets, 1);
	__sync_fetch_and_add(&cell->bytes, bytes);
	__sync_fetch_and_add(&cell->sum_ns, ns);
	return 0;
}

static __always_inline u32 side(void)
{
	u32 key = 0;
	struct state *state = states.lookup(&key);

	return state ? state->side & 1 : 0;
}

static __always_inline void key_of(struct cell_key *key, const struct hop *hop)
{
	key->saddr = hop->saddr;
	key->daddr = hop->daddr;
	key->netns = hop->netns;
	key->ifindex = hop->ifindex;
	key->point = hop->point;
	key->proto = hop->proto;
	key->shape = hop->shape & SHAPE_IPV6;
}

/* Add to the cell of each rule. Of what finds no room, the packet's fate is told
 * (`count`, 0 where it has another one), and each rule's tally. */
static __always_inline void add_for_rules(u32 mask, struct cell_key *key, const struct hop *hop, u64 ns,
					  struct counters *count)
{
	u32 odd = side(), end = RULES_END, first = 0;
	struct rule *any = rules.lookup(&first);
	u64 failed = any ? any->zero : 0; /* as in take() */

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < end; i++) {
		if (!(mask >> i & 1))
			continue;
		u32 at = i * POINTS + hop->point, number = i;
		struct rule *rule = rules.lookup(&number);
		struct tally *tally = tallies.lookup(&at);

		if (!rule || !tally)
			return;
		key->rule = i;
		key->sport = rule->by_flow ? hop->sport : 0;
		key->dport = rule->by_flow ? hop->dport : 0;
		if (add(key, odd, hop->len_bytes, ns)) {
			tally->overflowed++;
			failed = 1;
		}
	}
	if (!count)
		return;
	if (failed)
		count->overflowed++;
	else
		count->aggregated++;
}

/* What tells this packet from the next one in the same buffer. */
static __always_inline u32 tag_of(const struct hop *hop, u32 hash)
{
	return mix(hop->skb, hash) & 0xffffff;
}

static __always_inline void aggregate_hop(u32 mask, const struct hop *hop, u32 hash, u64 now,
					  struct net_device *dev, struct counters *count)
{
	u32 at = (hop->skb ^ hop->skb >> 16) & (PASSAGES - 1), tag = tag_of(hop, hash);
	struct passage *passage = passages.lookup(&at);
	struct cell_key key = {};
	u64 when, first, took = 0;

	if (!passage)
		return;
	key_of(&key, hop);
	when = passage->when;
	first = passage->first;
	if (hop->point == POINT_KFREE_SKB) {
		key.kind = CELL_DROP;
		key.bucket = hop->detail;
		passage->when = 0;
	} else if ((when & 0xffffff) == tag) {
		key.kind = CELL_SEGMENT;
		key.from = first & 0xff;
		took = (now - (when >> 24)) & NS_40_BITS;
		key.bucket = bucket_of(took);
		passage->first = (first & ~0xffULL) | hop->point;
		passage->when = now << 24 | tag;
	} else {
		key.kind = CELL_HOP;
		first = now << 24;
		passage->first = first | hop->point;
		passage->when = now << 24 | tag;
	}
	add_for_rules(mask, &key, hop, took, count);
	/* The whole way: where the packet leaves the devices, if the namespace is its
	 * destination's, which user space knows. Ports of bridges pass it on. */
	if (hop->point != POINT_NETIF_RECEIVE_SKB || key.kind != CELL_SEGMENT || !dev || dev->rx_handler)
		return;
	key.kind = CELL_TOTAL;
	key.from = 0;
	took = (now - (first >> 24)) & NS_40_BITS;
	key.bucket = bucket_of(took);
	add_for_rules(mask, &key, hop, took, 0);
}

#endif
