/* A kernel may wait for another kernel of its own program, in another stream: were it held back
 * until that one has ended, neither would ever end. So a launch that has waited for BYPASS_NS,
 * while everything that its session has in flight is in other queues, may bypass the bound and join
 * them. It is booked like any other launch, and starts only where the policy lets best-effort work
 * start. Behind a launch of its own queue it goes on waiting: that one cannot wait for it. */
#include "bypass.h"

#include "launches.h"
#include "state.h"

/* Whether the launch at the queue's cursor may bypass the bound now; else a timer is asked for, for
 * when it may. */
static bool may_go(struct tally_sched *s, const struct session *session, const struct queue *queue,
                   enum form form)
{
    if (queue->starts > 0 || session->starts == 0 || !tally_sched_startable(s, queue, form))
        return false;
    uint64_t due_ns = s->launches[queue->cursor].submitted_ns + BYPASS_NS;
    if (s->now_ns < due_ns)
        tally_sched_wish(s, due_ns);
    return s->now_ns >= due_ns;
}

uint32_t tally_sched_bypassing(struct tally_sched *s, uint32_t session, enum form form)
{
    uint32_t first = s->sessions[session].ring, at = first;
    if (first == NONE)
        return NONE;
    do {
        if (may_go(s, &s->sessions[session], &s->queues[at], form))
            return s->queues[at].cursor;
        at = s->queues[at].next;
    } while (at != first);
    return NONE;
}

void tally_sched_start_bypassing(struct tally_sched *s, uint32_t launch, enum form form)
{
    const struct session *session = &s->sessions[s->launches[launch].session];
    const struct class_sums *sums = &s->sums[session->class_];
    s->stats.oversized++;
    tally_sched_start(s, launch, form, tally_sched_level_of(s, session));
    if (sums->charge_ns > s->allowance_ns)
        s->allowance_ns = sums->charge_ns;
}
