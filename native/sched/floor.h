/* The share of the time that best-effort work gets at least. */
#ifndef TALLY_SCHED_FLOOR_H
#define TALLY_SCHED_FLOOR_H

#include "state.h"

/* Time passes, before the event that comes at its end. */
void tally_sched_floor_time(struct tally_sched *s, uint64_t now_ns);
/* Whether best-effort work may be with the device although high is busy; asks for a timer at the
 * time when that changes. */
bool tally_sched_floor_open(struct tally_sched *s);

#endif
