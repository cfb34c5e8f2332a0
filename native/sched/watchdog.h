/* The watchdog over preempted launches. */
#ifndef TALLY_SCHED_WATCHDOG_H
#define TALLY_SCHED_WATCHDOG_H

#include "state.h"

/* Time passes, before the event that comes at its end. */
void tally_sched_watch_time(struct tally_sched *s, uint64_t now_ns);
/* Rescues what was told to stop and does not end. */
void tally_sched_watch(struct tally_sched *s);

#endif
