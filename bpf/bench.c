/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reference programs of `make bench`: an empty program, the least that records something,
 * and one that fills a ring buffer of the kernel's. */
#include "kernel.h"
#include "records.h"

BPF_RINGBUF_OUTPUT(ring_shape, 1); /* never used: the inner map's type */
BPF_ARRAY_OF_MAPS(rings, "ring_shape", CPUS);
BPF_RINGBUF_OUTPUT(events, EVENTS_PAGES); /* read by bcc's own callback */

int empty(void *ctx)
{
	return 0;
}

/* A lower bound: only a timestamp, written to a ring buffer of the kernel's for each CPU. */
int least_record(void *ctx)
{
	u32 cpu = bpf_get_smp_processor_id();
	void *ring = rings.lookup(&cpu);
	u64 now = bpf_ktime_get_ns();
	struct hop *hop = ring ? bpf_ringbuf_reserve(ring, sizeof(*hop), 0) : 0;

	if (!hop)
		return 0;
	hop->ts_ns = now;
	bpf_ringbuf_submit(hop, BPF_RB_NO_WAKEUP);
	return 0;
}

/* Run by BPF_PROG_TEST_RUN as a classifier, so that it can repeat. */
int fill_events(struct __sk_buff *skb)
{
	struct hop hop = {.ts_ns = bpf_ktime_get_ns()};

	events.ringbuf_output(&hop, sizeof(hop), BPF_RB_NO_WAKEUP);
	return 0;
}
