/* Which limits the scheduler takes. */
#ifndef TALLY_SCHED_CONFIG_H
#define TALLY_SCHED_CONFIG_H

#include "tally/sched.h"

bool tally_sched_limits_ok(const struct tally_sched_limits *limits);

#endif
