/* Log-scaled histograms. */
#ifndef TALLY_SCHED_HISTOGRAM_H
#define TALLY_SCHED_HISTOGRAM_H

#include "tally/sched.h"

/* Adds a value to the bucket that it falls into. */
void tally_sched_histogram_add(struct tally_sched_histogram *histogram, uint64_t value);

#endif
