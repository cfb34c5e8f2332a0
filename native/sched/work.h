/* High work that is counted, not listed. */
#ifndef TALLY_SCHED_WORK_H
#define TALLY_SCHED_WORK_H

#include "state.h"

/* What events do, and what the owner takes back. */
int tally_sched_work(struct tally_sched *s, const struct tally_sched_event *event);
int tally_sched_work_ended(struct tally_sched *s, const struct tally_sched_event *event);
void tally_sched_uncount(struct tally_sched *s, uint32_t session, uint64_t count);

#endif
