/* The lists of launches and queues. */
#ifndef TALLY_SCHED_LISTS_H
#define TALLY_SCHED_LISTS_H

#include "state.h"

void tally_sched_waiting_add(struct tally_sched *s, uint32_t launch);
void tally_sched_waiting_remove(struct tally_sched *s, uint32_t launch);
void tally_sched_guarded_add(struct tally_sched *s, uint32_t launch);
void tally_sched_guarded_remove(struct tally_sched *s, uint32_t launch);
void tally_sched_queue_add(struct tally_sched *s, uint32_t launch);
void tally_sched_queue_remove(struct tally_sched *s, uint32_t launch);
void tally_sched_queue_rewind(struct tally_sched *s, uint32_t queue);

#endif
