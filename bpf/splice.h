/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What user space fills into the compiled programs before it loads them: the
 * programs are compiled once, and a new set of rules is a matter of milliseconds.
 * The verifier sees constants, and removes what they make unreachable. */
#ifndef CMONLAB_SPLICE_H
#define CMONLAB_SPLICE_H

/* Calls, by numbers that no helper has. */
#define SPLICE_MATCH    0x7f000001 /* the rules' filters, on a window in the program's own stack */
#define SPLICE_READABLE 0x7f000002 /* bpf_rdonly_cast() */

static u64 (*rules_match)(const u8 *window, u64 linear, u64 total, u64 start) = (void *)SPLICE_MATCH;
static const u8 *(*readable)(u64 address, u64 type) = (void *)SPLICE_READABLE;

/* Constants: 64-bit loads whose upper half is a mark. */
#define CONSTANT(n) ({ \
	u64 constant_; \
	asm("%0 = 0x636d6f6e000000" #n " ll" : "=r"(constant_)); \
	constant_; })
#define EPOCH     CONSTANT(00) /* of the rule set */
#define RULES_ON  CONSTANT(01) /* a bit for each rule that is active at this point */
#define CAPTURE   CONSTANT(02) /* of these: those that record, */
#define AGGREGATE CONSTANT(03) /* that aggregate, */
#define SELECTED  CONSTANT(04) /* that take packets of selected containers only: */
#define OUTGOING  CONSTANT(05) /* what those send, */
#define INCOMING  CONSTANT(06) /* what they are sent */
#define POINT_ID  CONSTANT(07) /* of the point that the program is for */
#define PACKET_ARGUMENT CONSTANT(08) /* which argument of the point is the packet */
#define TASK_EVENTS CONSTANT(09) /* reads tell when their task was woken and came to run: bits 0 and 1 */
#define RULES_END CONSTANT(0a) /* one more than the greatest number of an active rule */
#define PACKET_PLACE CONSTANT(0b) /* enum place */
#define SAMPLED   CONSTANT(0c) /* rules that take a sample, */
#define LIMITED   CONSTANT(0d) /* that have a rate limit, */
#define BY_FLOW   CONSTANT(0e) /* that aggregate by flow, not by pair of addresses */

#define SLOTS     CONSTANT(10) /* of each CPU's ring, a power of two */

/* The only element of a map, without a lookup. */
#define STATE ((struct state *)CONSTANT(0f))

#endif
