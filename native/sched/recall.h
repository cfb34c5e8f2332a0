/* Starts that are recalled. */
#ifndef TALLY_SCHED_RECALL_H
#define TALLY_SCHED_RECALL_H

#include "state.h"

/* Best-effort work may not start from now on; what events do. */
void tally_sched_hold(struct tally_sched *s);
int tally_sched_coming(struct tally_sched *s, const struct tally_sched_event *event);
int tally_sched_came(struct tally_sched *s, const struct tally_sched_event *event);

#endif
