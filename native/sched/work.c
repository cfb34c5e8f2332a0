/* High work that is counted, not listed: copies, and launches that the table of launches has no
 * room for. It needs no decision and cannot be stopped. All that matters is that high is busy while
 * some of it is left. A counter does not fill up, so high is never taken to be idle because a table
 * is full. */
#include "work.h"

#include "gaps.h"
#include "launches.h"
#include "state.h"
#include "turnaround.h"

int tally_sched_work(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct session *session = &s->sessions[event->session];
    struct class_sums *sums = &s->sums[TALLY_SCHED_HIGH];
    if (!session->open || session->closing || session->class_ != TALLY_SCHED_HIGH ||
        event->blocks == 0)
        return TALLY_SCHED_INVALID;
    if (tally_sched_is_idle(session))
        tally_sched_count_busy(s, TALLY_SCHED_HIGH, 1);
    session->counted += event->blocks;
    session->stats.launches += event->started ? event->blocks : 0;
    session->stats.starts += event->started ? event->blocks : 0;
    bool idle = sums->outstanding == 0;
    sums->outstanding += event->blocks;
    if (idle) {
        tally_sched_high_came(s);
        tally_sched_note_arrival(s, event->session);
    }
    return 0;
}

int tally_sched_work_ended(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct session *session = &s->sessions[event->session];
    if (!session->open || event->blocks == 0 || event->blocks > session->counted)
        return TALLY_SCHED_INVALID;
    session->stats.gpu_ns += event->gpu_ns;
    if (event->started)
        session->stats.completed += event->blocks;
    tally_sched_uncount(s, event->session, event->blocks);
    return 0;
}

void tally_sched_uncount(struct tally_sched *s, uint32_t index, uint64_t count)
{
    struct session *session = &s->sessions[index];
    struct class_sums *sums = &s->sums[session->class_];
    TALLY_ASSERT(count <= session->counted && count <= sums->outstanding);
    if (count == 0)
        return;
    session->counted -= count;
    sums->outstanding -= count;
    if (tally_sched_is_idle(session))
        tally_sched_count_busy(s, session->class_, -1);
    if (sums->outstanding == 0 && session->class_ == TALLY_SCHED_HIGH)
        tally_sched_high_went(s);
}
