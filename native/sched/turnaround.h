/* How long best-effort work takes to get out of the way of high. */
#ifndef TALLY_SCHED_TURNAROUND_H
#define TALLY_SCHED_TURNAROUND_H

#include "state.h"

/* High has come; the launch's oldest starts have ended, by this event (NULL: by a
 * failure); a session in flight has changed its class. */
void tally_sched_note_arrival(struct tally_sched *s, uint32_t session);
void tally_sched_note_clearance(struct tally_sched *s, const struct launch *launch, uint32_t ended,
                                const struct tally_sched_event *event);
void tally_sched_forget_arrivals(struct tally_sched *s);
void tally_sched_forget_arrivals_of(struct tally_sched *s, uint32_t session);

#endif
