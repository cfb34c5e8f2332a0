/* High's gaps, and how long best-effort work waits in one. */
#ifndef TALLY_SCHED_GAPS_H
#define TALLY_SCHED_GAPS_H

#include "state.h"

/* High's class has something to do again, or nothing any more; past gaps say nothing any
 * more. */
void tally_sched_high_came(struct tally_sched *s);
void tally_sched_high_went(struct tally_sched *s);
void tally_sched_forget_gaps(struct tally_sched *s);
/* How long work that takes stop_ns to stop should wait after high's last launch: at most the
 * longest wait. What stops within the bound counts as if it took all of it. */
uint64_t tally_sched_gap_wait(struct tally_sched *s, uint64_t stop_ns);
/* The same, computed anew, for the time itself. */
uint64_t tally_sched_weigh_gap(const struct tally_sched *s, uint64_t stop_ns);
static inline uint64_t tally_sched_longest_wait(const struct tally_sched *s)
{
    const struct tally_sched_limits *limits = &s->limits;
    return limits->gap_wait_ns_max > limits->hysteresis_ns ? limits->gap_wait_ns_max
                                                           : limits->hysteresis_ns;
}

#endif
