/* No scheduling: every launch goes to the device as it comes. What the device then does with
 * streams that compete is its own affair; this is what sharing a GPU without a scheduler looks
 * like. With `fifo` all streams are alike to it, with `priority` it prefers those of high sessions.
 */
#include "launches.h"
#include "policy.h"
#include "state.h"

/* Launches of both classes, merged by arrival. */
static void decide(struct tally_sched *s)
{
    uint32_t high = s->waiting[TALLY_SCHED_HIGH].head,
             low = s->waiting[TALLY_SCHED_BEST_EFFORT].head;
    while (high != NONE || low != NONE) {
        if (tally_sched_out_full(s))
            return;
        bool take_high =
            low == NONE || (high != NONE && s->launches[high].sequence < s->launches[low].sequence);
        uint32_t at = take_high ? high : low;
        const struct launch *launch = &s->launches[at];
        const struct queue *queue = &s->queues[launch->queue];
        if (take_high)
            high = launch->waiting_next;
        else
            low = launch->waiting_next;
        if (queue->cursor == at && tally_sched_startable(s, queue, FORM_WHOLE))
            tally_sched_start(s, at, FORM_WHOLE,
                              tally_sched_level_of(s, &s->sessions[launch->session]));
    }
}

const struct policy tally_sched_policy_fifo = {
    .name = "fifo",
    .text = "no scheduling: everything goes at once, at one priority",
    .traits = TALLY_SCHED_HIGH_AT_ONCE,
    .decide = decide,
};

const struct policy tally_sched_policy_priority = {
    .name = "priority",
    .text = "no scheduling: everything goes at once, high on a high-priority stream",
    .traits = TALLY_SCHED_HIGH_AT_ONCE | TALLY_SCHED_LEVELS,
    .decide = decide,
};
