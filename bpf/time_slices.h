/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which task runs on a CPU since when, when tasks are woken, and when the receive softirq begins. */
#ifndef CMONLAB_TIME_SLICES_H
#define CMONLAB_TIME_SLICES_H

#define NET_RX_SOFTIRQ 3

int on_softirq_entry(void *ctx)
{
	u32 key = 0;
	struct time_slice *slice;

	if (ARGUMENT(u32, 0) != NET_RX_SOFTIRQ)
		return 0;
	slice = time_slices.lookup(&key);
	if (slice)
		slice->softirq_ns = bpf_ktime_get_ns();
	return 0;
}

int on_sched_waking(void *ctx)
{
	u32 task = number_of(ARGUMENT(u64, 0)), at = (task ^ task >> 12) & (WAKINGS - 1);
	struct waking *waking = wakings.lookup(&at);

	if (waking) {
		waking->ts_ns = bpf_ktime_get_ns();
		waking->task = task;
	}
	return 0;
}

/* Records trace gaps. While some tasks run (a virtual machine may hide its own
 * management process), no tracepoint fires on that CPU, not even for interrupts, and
 * packets pass unseen. The switches show it: the task that leaves the CPU must be the
 * one that came last; if it is not, a switch in between was hidden. */
int on_sched_switch(void *ctx)
{
	struct task_struct *leaves = ARGUMENT(struct task_struct *, SWITCH_PREVIOUS);
	struct task_struct *comes = ARGUMENT(struct task_struct *, SWITCH_PREVIOUS + 1);
	u32 key = 0;
	struct time_slice *slice = time_slices.lookup(&key);
	u64 now = bpf_ktime_get_ns();

	if (!slice)
		return 0;
	if (slice->since_ns && slice->task != number_of((u64)leaves)) {
		struct hop gap = {.ts_ns = slice->since_ns};

		gap.saddr = now;
		gap.daddr = now >> 32;
		gap.point = POINT_TRACE_GAP;
		write_record(&gap);
	}
	slice->task = number_of((u64)comes);
	slice->since_ns = now;
	return 0;
}

#endif
