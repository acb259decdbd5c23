/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Custom probes. cmonlab appends this file to points.c and then, for each probe, struct
 * NAME_fields, NAME_body() with the user's code, and PACKET_PROBE or SOCKET_PROBE
 * (cmonlab/tracing/kernel/probes.py). */
#ifndef CMONLAB_PROBES_H
#define CMONLAB_PROBES_H

#define FIELDS 8

/* A hop and the probe's values in one record: both are kept or both are lost, and they
 * need not be joined. */
struct probe_record {
	struct hop hop;
	u64 values[FIELDS]; /* one per field, in its lower bytes */
};
_Static_assert(sizeof(struct probe_record) == 56 + 8 * FIELDS, "no padding");

struct probe_slot {
	struct probe_record record;
	u64 sequence;
};

BPF_F_TABLE("array", u32, struct ring, probe_rings, CPUS, BPF_F_MMAPABLE);
BPF_F_TABLE("array", u32, struct probe_slot, probe_slots, CPUS, BPF_F_MMAPABLE);

/* Read kernel memory through any pointer, also where the verifier does not follow it.
 * Memory that is not mapped reads as 0. */
#define READ(lvalue) ({ \
	__typeof__(lvalue) read_; \
	__builtin_memset(&read_, 0, sizeof(read_)); \
	bpf_probe_read_kernel(&read_, sizeof(read_), (const void *)&(lvalue)); \
	read_; })

static __always_inline void write_probe_record(const struct hop *hop, u32 mask, const void *values, u32 size,
				       struct counters *count)
{
	u32 cpu = bpf_get_smp_processor_id(), at;
	u64 sequence = take_slot(probe_rings.lookup(&cpu));
	struct probe_slot *slot;

	at = place_of(cpu, sequence);
	slot = sequence ? probe_slots.lookup(&at) : 0;
	if (!slot) {
		count->lost++;
		return;
	}
	count->recorded++;
	slot->record.hop = *hop;
	slot->record.hop.epoch = EPOCH;
	slot->record.hop.rules = mask;
	__builtin_memset(slot->record.values, 0, sizeof(slot->record.values));
	__builtin_memcpy(slot->record.values, values, size);
	publish(&slot->sequence, sequence);
}

/* The packet's device, or 0: UDP keeps scratch data in skb->dev, which does not look like a
 * kernel address. In assembly, as the compiler would calculate with the pointer, which the
 * verifier forbids. */
static __always_inline struct net_device *device_of(struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;

	asm volatile("if %0 s< 0 goto +1\n\t%0 = 0" : "+r"(dev));
	return dev;
}

#define PACKET_PROBE(name, number, argument, where) \
int probe_##name(void *ctx) \
{ \
	struct sk_buff *skb = ARGUMENT(struct sk_buff *, argument); \
	struct counters *count; \
	struct name##_fields out; \
	struct hop hop; \
	u32 mask; \
\
	if (!skb || !(count = counters_of(number))) \
		return 0; \
	struct site site = {.dev = device_of(skb), .point = number, .place = where}; \
\
	mask = stamp(skb, site, &hop, count); \
	if (!mask) \
		return 0; \
	__builtin_memset(&out, 0, sizeof(out)); /* = {} would be copied from a constant elsewhere in memory */ \
	name##_body(ctx, skb, &out); \
	write_probe_record(&hop, mask, &out, sizeof(out), count); \
	return 0; \
}

/* TCP: the rules that take what this socket sends. UDP: those whose datagrams came to it. */
static __always_inline u32 rules_of_socket(struct sock *sk, struct hop *hop)
{
	hop->aux = 0;
	hop->seq = 0;
	if (sk->sk_protocol == PROTO_UDP)
		return datagram_of(sk, hop);
	if (sk->sk_protocol == PROTO_TCP)
		return flow_of(sk, hop, 0);
	return 0;
}

#define SOCKET_PROBE(name, number, argument) \
int probe_##name(void *ctx) \
{ \
	struct sock *sk = ARGUMENT(struct sock *, argument); \
	struct counters *count; \
	struct name##_fields out; \
	struct hop hop; \
	u32 mask; \
\
	if (!sk || !(count = counters_of(number))) \
		return 0; \
	count->seen++; \
	hop.point = number; \
	mask = account(&hop, rules_of_socket(sk, &hop), CELL_HOP, 0, count); \
	if (!mask) \
		return 0; \
	__builtin_memset(&out, 0, sizeof(out)); \
	name##_body(ctx, sk, &out); \
	write_probe_record(&hop, mask, &out, sizeof(out), count); \
	return 0; \
}

#endif
