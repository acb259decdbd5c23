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
	return (object - (u64)STATE) >> 6;
}

/* Where a point counts; nothing while the program's rules are not the current ones.
 * Epochs take turns with two sets of counters, so that each has a ledger of its own. */
static __always_inline struct counters *counters_of(u32 point)
{
	u32 at = (bpf_get_smp_processor_id() * 2 + (EPOCH & 1)) * POINTS + point;

	if (STATE->epoch != (u32)EPOCH)
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

/* The verifier walks through what follows once for each combination of what it knows of
 * a hop: of headers of each kind. It forgets when something is xor-ed that it takes for
 * any number, and what lies in memory as less than four bytes; there all has to go, as in
 * registers it would take more of the stack. */
static __always_inline void forget(struct hop *hop, u64 zero)
{
	hop->seq ^= zero;
	hop->len_bytes ^= zero;
	asm volatile("" : : "r"(hop) : "memory");
}

/* How many records a rule has made in this window, this one not counted. */
static __always_inline u64 used_of(struct rule *rule)
{
	u64 window = bpf_ktime_get_ns() >> 27;

	if (rule->window != window) {
		rule->window = window;
		rule->used = 0;
	}
	return __sync_fetch_and_add(&rule->used, 1);
}

/* Whether a rule leaves out a packet that it matches: for its sample or its rate limit. */
static __always_inline u64 leaves_out(u32 number, u64 hash, struct tally *tally)
{
	struct rule *rule = rules.lookup(&number);
	u64 sampled_out, limited, used = tally->zero;

	if (!rule)
		return used;
	sampled_out = (rule->sample - hash) >> 63;
	if (LIMITED >> number & 1 && !sampled_out)
		used = used_of(rule);
	limited = (rule->limit - used - 1) >> 63;
	tally->sampled_out += sampled_out;
	tally->limited += limited;
	return (sampled_out | limited) ^ tally->zero;
}

/* The rules among `mask` that take this packet and do more than count it; 0 if none, and
 * the packet is counted.
 *
 * What is decided for one rule must leave no trace that the verifier can see, or it
 * walks through the following rules once for each combination of decisions: so they
 * are computed, not branched to, and begin with a 0 that it takes for any number. */
static __always_inline u32 take(u32 mask, const struct hop *hop, u32 hash, struct counters *count)
{
	u32 end = RULES_END;
	u64 left_out = count->rules[0].zero;

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
		struct tally *tally = &count->rules[i & (RULES - 1)];

		tally->packets++;
		tally->bytes += hop->len_bytes;
		if ((SAMPLED | LIMITED) >> i & 1)
			left_out |= leaves_out(i, hash, tally) << i;
	}
	mask &= ~left_out;
	if (!mask)
		count->sampled_out++;
	else if (!(mask & (CAPTURE | AGGREGATE)))
		count->counted++;
	return mask & (CAPTURE | AGGREGATE);
}

static __always_inline void remember_reader(u32 port, u64 mask)
{
	u64 *reader = readers.lookup(&port);

	if (reader && (*reader & mask) != mask)
		__sync_fetch_and_or(reader, mask);
}

/* A CPU's ring is a part of a mapped array. What the kernel's own ring buffer spends on its
 * lock and its header is most of what a record costs; here one atomic addition takes a slot,
 * as programs interrupt each other on a CPU: they may take those between a look at the ring
 * and the addition, for which there is room. */
#define NESTED 8

static __always_inline u64 take_slot(struct ring *ring)
{
	if (!ring || ring->taken - ring->read > SLOTS - NESTED)
		return 0;
	return __sync_fetch_and_add(&ring->taken, 1) + 1;
}

/* Where a turn's slot is, in an array of all CPUs' slots. */
static __always_inline u32 place_of(u32 cpu, u64 sequence)
{
	return cpu * SLOTS + ((sequence - 1) & (SLOTS - 1));
}

/* Say that a record is whole, after all of it. */
static __always_inline void publish(u64 *to, u64 sequence)
{
#ifdef STORES_STAY_IN_ORDER
	asm volatile("" : : : "memory");
	*(volatile u64 *)to = sequence;
#else
	__sync_lock_test_and_set(to, sequence);
#endif
}

static __always_inline int write_record(const struct hop *hop)
{
	u32 cpu = bpf_get_smp_processor_id(), at;
	u64 sequence = take_slot(rings.lookup(&cpu));
	struct slot *slot;

	if (!sequence)
		return 0;
	at = place_of(cpu, sequence);
	slot = slots.lookup(&at);
	if (!slot)
		return 0;
	slot->hop = *hop;
	publish(&slot->sequence, sequence);
	return 1;
}

static __always_inline void write_hop(struct hop *hop, u32 mask, u64 ts_ns, struct counters *count)
{
	hop->ts_ns = ts_ns;
	hop->epoch = EPOCH;
	hop->rules = mask;
	if (write_record(hop))
		count->recorded++;
	else
		count->lost++;
}

#endif
