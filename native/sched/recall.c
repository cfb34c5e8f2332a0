/* Starts that are recalled. Between a decision and the device stands a thread of the owner's, and
 * it may be late: high may have come meanwhile. A guarded start then finds its flag up; any other
 * start must not be issued. So decisions have epochs. An epoch ends when high comes and best-effort
 * work may no longer start; unguarded starts of an earlier epoch are stale. */
#include "recall.h"

#include "state.h"

void tally_sched_hold(struct tally_sched *s)
{
    s->epoch += !s->held;
    s->held = true;
}

int tally_sched_coming(struct tally_sched *s, const struct tally_sched_event *event)
{
    if (event->blocks == 0 || event->blocks > UINT32_MAX - s->coming)
        return TALLY_SCHED_INVALID;
    s->coming += event->blocks;
    if (s->sums[TALLY_SCHED_HIGH].outstanding == 0)
        tally_sched_hold(s); /* else it is decided */
    return 0;
}

int tally_sched_came(struct tally_sched *s, const struct tally_sched_event *event)
{
    if (event->blocks == 0 || event->blocks > s->coming)
        return TALLY_SCHED_INVALID;
    s->coming -= event->blocks;
    return 0;
}

bool tally_sched_is_stale(const struct tally_sched *s, const struct tally_sched_instruction *start)
{
    return start->epoch != s->epoch && start->type == TALLY_SCHED_START &&
           !(start->flags & TALLY_SCHED_START_PREEMPTIBLE) &&
           s->sessions[s->launches[start->launch].session].class_ == TALLY_SCHED_BEST_EFFORT;
}
