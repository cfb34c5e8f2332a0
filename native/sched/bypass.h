/* Launches that may bypass the bound. */
#ifndef TALLY_SCHED_BYPASS_H
#define TALLY_SCHED_BYPASS_H

#include "launches.h"

/* A launch of the session that may bypass the bound, or NONE; starts it. */
uint32_t tally_sched_bypassing(struct tally_sched *s, uint32_t session, enum form form);
void tally_sched_start_bypassing(struct tally_sched *s, uint32_t launch, enum form form);

#endif
