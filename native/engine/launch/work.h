/* High work that is counted and not listed (native/sched/work.c): launches that the books do not
 * hold, copies, memsets. It is told to the scheduler before it goes to the device, and again
 * when it has ended: so it is seen however much of it there is. */
#ifndef TALLY_ENGINE_WORK_H
#define TALLY_ENGINE_WORK_H

#include <stdbool.h>
#include <stdint.h>

struct schedule;
struct session;

enum work_kind { WORK_LAUNCH, WORK_TRANSFER };

/* Pieces of work of one session that have not ended; under the schedule's lock. */
struct work_books {
    uint32_t generation; /* of the session in this place: of what was forgotten no report counts */
    uint64_t pieces[2];  /* by kind */
};

/* One piece is about to go to the device: the tag with which its end is to be reported, never 0. */
uint64_t work_begin(struct session *session, enum work_kind kind);
/* So many pieces with that tag have ended, or did not go; gpu_ns: device time of all. */
void work_end(struct session *session, uint64_t tag, uint32_t pieces, uint64_t gpu_ns);

static inline bool work_is_tag(uint64_t tag) { return tag >> 31 & 1; }

static inline enum work_kind work_kind_of(uint64_t tag) { return (enum work_kind)(tag >> 30 & 1); }

/* The same under the lock, by the tag alone: what softgpu reports. */
void work_ended(struct schedule *s, uint64_t tag, uint32_t pieces, uint64_t gpu_ns);
/* Under the lock: a launch went before it was known that the books do not take it. */
void work_count(struct schedule *s, struct session *session, enum work_kind kind);
void work_uncount(struct schedule *s, uint32_t session, enum work_kind kind, uint64_t pieces,
                  uint64_t gpu_ns);
/* Under the lock: the session fails or ends, nobody waits for the ends of its work any more. */
void work_forget(struct schedule *s, struct session *session);

#endif
