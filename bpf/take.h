/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which rules take a packet that their filters match, and the record for it. */
#ifndef CMONLAB_TAKE_H
#define CMONLAB_TAKE_H

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

/* An object's number: its address, less that of a map that stays where it is, as the
 * verifier lets programs calculate with differences of pointers only; in units that
 * are smaller than any object, so that 32 bits tell apart what lies within 256 GiB. */
static __always_inline u32 number_of(u64 object)
{
	u32 key = 0;
	struct state *state = states.lookup(&key);

	return state ? (object - (u64)state) >> 6 : 0;
}

/* Where a point counts; nothing while the program's rules are not the current ones.
 * Epochs take turns with two sets of counters, so that each has a ledger of its own. */
static __always_inline struct counters *counters_of(u32 point)
{
	u32 key = 0, at = (EPOCH & 1) * POINTS + point;
	struct state *state = states.lookup(&key);

	if (!state || state->epoch != (u32)EPOCH)
		return 0;
	return counters.lookup(&at);
}

/* Rules that name containers take packets between the addresses of those. */
static __always_inline u32 of_members(u32 mask, u32 saddr, u32 daddr)
{
	u64 *from = members.lookup(&saddr), *to = members.lookup(&daddr);
	u64 ends = (from ? *from & OUTGOING : 0) | (to ? *to & INCOMING : 0);

	return mask & (~SELECTED | ends);
}

#define NO_LIMIT 0xffffffff

/* How many records a rule has made in this window, this one not counted. */
static __always_inline u32 used_of(struct rule *rule, u64 now)
{
	if (rule->window != now >> 27) {
		rule->window = now >> 27;
		rule->used = 0;
	}
	return __sync_fetch_and_add(&rule->used, 1);
}

/* The rules among `mask` that take this packet; 0 if none, and the packet is counted.
 *
 * What is decided for one rule must leave no trace that the verifier can see, or it
 * walks through the following rules once for each combination of decisions: so they
 * are computed, not branched to, and begin with a 0 that it takes for any number. */
static __always_inline u32 take(u32 mask, const struct hop *hop, u32 hash, struct counters *count, u64 now)
{
	u32 end = RULES_END, first = 0;
	struct rule *any = rules.lookup(&first);
	u64 left_out = any ? any->zero : 0;

	if (mask & SELECTED)
		mask = of_members(mask, hop->saddr, hop->daddr);
	if (!mask) {
		count->unmatched++;
		return 0;
	}
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < end; i++) {
		if (!(mask >> i & 1))
			continue;
		u32 key = i, at = i * POINTS + hop->point;
		struct rule *rule = rules.lookup(&key);
		struct tally *tally = tallies.lookup(&at);

		if (!rule || !tally)
			return 0;
		u64 sampled_out = ((u64)rule->sample - hash) >> 63, limited, used = rule->zero;

		if (rule->limit != NO_LIMIT && !sampled_out)
			used = used_of(rule, now);
		limited = ((u64)rule->limit - used - 1) >> 63;
		tally->packets++;
		tally->bytes += hop->len_bytes;
		tally->sampled_out += sampled_out;
		tally->limited += limited;
		left_out |= (sampled_out | limited) << i;
	}
	mask &= ~left_out;
	if (!mask)
		count->sampled_out++;
	else if (!(mask & (CAPTURE | AGGREGATE)))
		count->counted++;
	return mask;
}

static __always_inline void remember_reader(u32 port, u64 mask)
{
	u64 *reader = readers.lookup(&port);

	if (reader && (*reader & mask) != mask)
		__sync_fetch_and_or(reader, mask);
}

static __always_inline struct hop *reserve(void)
{
	u32 cpu = bpf_get_smp_processor_id();
	void *ring = rings.lookup(&cpu);

	return ring ? bpf_ringbuf_reserve(ring, sizeof(struct hop), 0) : 0;
}

static __always_inline void write_hop(struct hop *hop, u32 mask, u64 ts_ns, struct counters *count)
{
	struct hop *record = reserve();

	if (!record) {
		count->lost++;
		return;
	}
	count->recorded++;
	hop->ts_ns = ts_ns;
	hop->epoch = EPOCH;
	hop->rules = mask;
	*record = *hop;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

#endif
