/* A kernel may wait for one of the same program that is in another stream: held back for ever by
 * what it is to release, neither would end. So a launch that has waited for long, while all that
 * its session has in flight is in other queues, may join that, whatever the bound says; it stays
 * in the books like any other, and starts, as they all do, only where the policy lets best-
 * effort work start. Behind one of its own queue it may wait: that one cannot wait for it. */
#include "state.h"

/* Whether the launch at the queue's cursor may go beside its session's others. Wishes for the
 * time when it may. */
static bool may_go(struct tally_sched *s, const struct session *session, const struct queue *queue,
                   enum form form) {
    if (queue->starts > 0 || session->starts == 0 || !tally_sched_startable(s, queue, form))
        return false;
    uint64_t due_ns = s->launches[queue->cursor].submitted_ns + BESIDE_NS;
    if (s->now_ns < due_ns) tally_sched_wish(s, due_ns);
    return s->now_ns >= due_ns;
}

uint32_t tally_sched_beside_of(struct tally_sched *s, uint32_t session, enum form form) {
    uint32_t first = s->sessions[session].ring, at = first;
    if (first == NONE) return NONE;
    do {
        if (may_go(s, &s->sessions[session], &s->queues[at], form)) return s->queues[at].cursor;
        at = s->queues[at].next;
    } while (at != first);
    return NONE;
}

void tally_sched_start_beside(struct tally_sched *s, uint32_t launch, enum form form) {
    const struct session *session = &s->sessions[s->launches[launch].session];
    const struct class_sums *sums = &s->sums[session->class_];
    s->stats.oversized++;
    tally_sched_start(s, launch, form, tally_sched_level_of(s, session));
    if (sums->charge_ns > s->allowance_ns) s->allowance_ns = sums->charge_ns;
}
