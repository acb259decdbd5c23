/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Placeholders that user space replaces in the compiled programs before it loads them
 * (cmonlab/tracing/kernel/splice.py reads their names and numbers from this file). So the
 * programs are compiled once, and new rules take milliseconds. The verifier sees
 * constants, and removes the code that they make unreachable. */
#ifndef CMONLAB_SPLICE_H
#define CMONLAB_SPLICE_H

/* Calls: helper numbers that the kernel does not have. */
#define SPLICE_MATCH    0x7f000001 /* the rules' filters; arguments as of struct view, result: one bit per rule */
#define SPLICE_READABLE 0x7f000002 /* bpf_rdonly_cast() */

static u64 (*rules_match)(const u8 *window, u64 linear, u64 total, u64 start) = (void *)SPLICE_MATCH;
static const u8 *(*readable)(u64 address, u64 type) = (void *)SPLICE_READABLE;

/* Constants: 64-bit loads with the mark as upper half and the constant's number as lower half. */
#define CONSTANT_MARK 0x636d6f6e
#define STRING_OF(text) #text
#define STRING(macro) STRING_OF(macro)
#define CONSTANT(n) ({ \
	u64 constant_; \
	asm("%0 = " STRING(CONSTANT_MARK) "000000" #n " ll" : "=r"(constant_)); \
	constant_; })
#define EPOCH     CONSTANT(00) /* of the rule set */
#define RULES_ON  CONSTANT(01) /* one bit per rule that is active at this point */
#define CAPTURE   CONSTANT(02) /* of these: rules that record hops */
#define AGGREGATE CONSTANT(03) /* rules that aggregate */
#define SELECTED  CONSTANT(04) /* rules that take packets of selected containers only */
#define OUTGOING  CONSTANT(05) /* of these: rules that take what the containers send */
#define INCOMING  CONSTANT(06) /* of these: rules that take what is sent to them */
#define POINT_ID  CONSTANT(07) /* id of the point that the program is loaded for */
#define PACKET_ARGUMENT CONSTANT(08) /* which argument of the tracepoint or function is the packet */
#define TASK_EVENTS CONSTANT(09) /* what a read reports of its task: TASK_WOKEN, TASK_RUNS */
#define RULES_END CONSTANT(0a) /* highest number of an active rule + 1 */
#define PACKET_PLACE CONSTANT(0b) /* PLACE_TX or PLACE_RX */
#define SAMPLED   CONSTANT(0c) /* rules that take a sample */
#define LIMITED   CONSTANT(0d) /* rules with a rate limit */
#define BY_FLOW   CONSTANT(0e) /* rules that aggregate by flow, not by pair of addresses */

#define STATE_ADDRESS CONSTANT(0f) /* of the only element of the map `states` */
#define SLOTS     CONSTANT(10) /* slots per CPU's ring, a power of two */

#define STATE ((struct state *)STATE_ADDRESS)

/* Values of TASK_EVENTS, to be added: a read also writes a hop for the moment when its task */
#define TASK_WOKEN 1 /* was woken (sched_waking) */
#define TASK_RUNS  2 /* got the CPU (sched_switch) */

/* Values of PACKET_PLACE: where the IP header is, see find_packet(). */
#define PLACE_TX 0
#define PLACE_RX 1

#endif
