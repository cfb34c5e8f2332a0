/* The life of a launch. */
#ifndef TALLY_SCHED_LAUNCHES_H
#define TALLY_SCHED_LAUNCHES_H

#include "state.h"

/* What a policy can ask and do. */
enum form { FORM_PLAN, FORM_WHOLE }; /* as planned, or undivided */

static inline bool tally_sched_out_full(const struct tally_sched *s)
{
    return s->out_count == s->out_max;
}
struct tally_sched_instruction *tally_sched_emit(struct tally_sched *s, uint32_t type);
/* Whether the first waiting launch of this queue may start now without breaking program order. */
bool tally_sched_startable(const struct tally_sched *s, const struct queue *queue, enum form form);
/* A policy's condition for a startable launch; it may wish for the time when it holds. */
typedef bool tally_sched_suits(struct tally_sched *s, const struct launch *launch, enum form form);
/* The next startable launch of a session that suits (NULL: any), over its queues in turn; NONE. */
uint32_t tally_sched_next_of(struct tally_sched *s, const struct session *session, enum form form,
                             tally_sched_suits *suits);
/* Whether it would go through the guard if it started now in this form. */
bool tally_sched_would_be_guarded(const struct tally_sched *s, const struct launch *launch,
                                  enum form form);
/* Unstoppable work that starting it in this form stands for by itself, and what it adds. */
uint64_t tally_sched_unstoppable_of(const struct tally_sched *s, const struct launch *launch,
                                    enum form form);
uint64_t tally_sched_charge_of(const struct tally_sched *s, const struct launch *launch,
                               enum form form);
void tally_sched_start(struct tally_sched *s, uint32_t launch, enum form form, uint32_t level);
void tally_sched_preempt(struct tally_sched *s, uint32_t launch);
/* Preempts a queue's guarded starts together, the youngest first: one that is preempted later
 * than the one ahead of it, or not at all, would overtake it. false: out of room. */
bool tally_sched_preempt_queue(struct tally_sched *s, uint32_t queue);
uint32_t tally_sched_level_of(const struct tally_sched *s, const struct session *session);
/* Starts all launches of a class in order of arrival, whole; false: out of room. */
bool tally_sched_start_all(struct tally_sched *s, enum tally_sched_class class_);
static inline void tally_sched_wish(struct tally_sched *s, uint64_t time_ns)
{
    if (time_ns < s->wish_ns)
        s->wish_ns = time_ns;
}

/* What events do. */
void tally_sched_submit(struct tally_sched *s, const struct tally_sched_event *event);
void tally_sched_retire(struct tally_sched *s, uint32_t launch);
int tally_sched_finish(struct tally_sched *s, const struct tally_sched_event *event);
int tally_sched_stop(struct tally_sched *s, const struct tally_sched_event *event);
int tally_sched_fail(struct tally_sched *s, uint32_t launch);
int tally_sched_recall(struct tally_sched *s, const struct tally_sched_event *event);
/* Books a launch that the owner has started already. */
void tally_sched_adopt(struct tally_sched *s, uint32_t launch);
void tally_sched_count_busy(struct tally_sched *s, uint32_t class_, int by);

#endif
