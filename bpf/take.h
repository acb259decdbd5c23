/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which of the rules that match a packet take it, and how its record is written. */
#ifndef CMONLAB_TAKE_H
#define CMONLAB_TAKE_H

/* A pointer that bcc's rewriter does not follow: it would turn each load through the
 * pointer into a call of bpf_probe_read. */
#define HIDDEN(type, pointer) ({ \
	type hidden_; \
	asm volatile("%0 = %1" : "=r"(hidden_) : "r"(pointer)); \
	hidden_; })
#define ARGUMENT(type, n) ({ \
	type argument_; \
	asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(argument_) : "r"(ctx), "i"((n) * 8)); \
	argument_; })

/* An object's number: the distance of its address from a map's element, because the
 * verifier lets programs calculate with differences of pointers only. The unit, 64 bytes,
 * is smaller than any object, so objects within 256 GiB have different numbers. */
static __always_inline u32 number_of(u64 object)
{
	return (object - (u64)STATE) >> OBJECT_SHIFT;
}

/* The counters of a point on this CPU; 0 if the program's rule set is not the active one.
 * Epochs use two sets of counters alternately, so that each epoch has its own ledger. */
static __always_inline struct counters *counters_of(u32 point)
{
	u32 at = (bpf_get_smp_processor_id() * 2 + (EPOCH & 1)) * POINTS + point;

	if (STATE->epoch != (u32)EPOCH)
		return 0;
	return counters.lookup(&at);
}

/* Of the rules in `mask`, those that take packets between these addresses: a rule that
 * selects containers takes packets from or to their addresses only. */
static __always_inline u32 of_members(u32 mask, u32 saddr, u32 daddr)
{
	u64 *from = members.lookup(&saddr), *to = members.lookup(&daddr);
	u64 ends = (from ? *from & OUTGOING : 0) | (to ? *to & INCOMING : 0);

	return mask & (~SELECTED | ends);
}

/* Make the verifier forget what it knows of a hop. It checks the code that follows once
 * for each combination of known values, for instance once per kind of header. It forgets a
 * value that is xor-ed with a number unknown to it, and any value of less than four bytes
 * that is in memory. So everything is stored to memory here; in registers it would take
 * more of the stack. */
static __always_inline void forget(struct hop *hop, u64 zero)
{
	hop->seq ^= zero;
	hop->len_bytes ^= zero;
	asm volatile("" : : "r"(hop) : "memory");
}

/* Count one record of a rule in the current window; return how many it had before. */
static __always_inline u64 used_of(struct rule *rule)
{
	u64 window = bpf_ktime_get_ns() >> LIMIT_WINDOW_SHIFT;

	if (rule->window != window) {
		rule->window = window;
		rule->used = 0;
	}
	return __sync_fetch_and_add(&rule->used, 1);
}

/* Whether a rule leaves out a packet that it matches, because of its sample or rate limit. */
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

/* Return the rules in `mask` that take this packet and do more than count it. If there are
 * none, the packet's fate is counted here.
 *
 * The decision for one rule must not be visible to the verifier, or it checks the following
 * rules once for each combination of decisions. So decisions are computed without branches,
 * starting from a 0 that the verifier takes for any number. */
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

/* Note that datagrams of these rules came to a local port, for later reads from it. */
static __always_inline void remember_reader(u32 port, u64 mask)
{
	u64 *reader = readers.lookup(&port);

	if (reader && (*reader & mask) != mask)
		__sync_fetch_and_or(reader, mask);
}

/* A CPU's ring is a part of a mapped array, because the lock and header of the kernel's own
 * ring buffer are most of a record's cost. Here one atomic addition takes a slot: programs
 * interrupt each other on a CPU. Between the check for room and the addition, interrupting
 * programs may take slots too; up to this many slots stay free for them. */
#define NESTED 8

/* Take the next slot; return its sequence number, or 0 if the ring is full. */
static __always_inline u64 take_slot(struct ring *ring)
{
	if (!ring || ring->taken - ring->read > SLOTS - NESTED)
		return 0;
	return __sync_fetch_and_add(&ring->taken, 1) + 1;
}

/* Index of the slot for a sequence number, in the array of all CPUs' slots. */
static __always_inline u32 place_of(u32 cpu, u64 sequence)
{
	return cpu * SLOTS + ((sequence - 1) & (SLOTS - 1));
}

/* Mark a record as complete: the sequence number must become visible after the record. */
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
