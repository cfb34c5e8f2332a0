/* Starts in flight, in the books only. */
#ifndef TALLY_SCHED_STARTS_H
#define TALLY_SCHED_STARTS_H

#include "state.h"

/* Takes blocks [issued, hi) of the launch as started. */
void tally_sched_book_start(struct tally_sched *s, uint32_t launch, uint32_t hi, uint64_t charge_ns,
                            bool guarded);
/* Takes the oldest start off the books, of which the event tells; without one, all of them. */
void tally_sched_book_end(struct tally_sched *s, uint32_t launch,
                          const struct tally_sched_event *event);
/* Takes the youngest starts off the books, as if they had never been: no time has passed on the
 * device. */
void tally_sched_unbook_starts(struct tally_sched *s, uint32_t launch, uint32_t count);

#endif
