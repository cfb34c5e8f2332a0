/* What the device reports: the end of a start, of counted work, of everything a session had. */
#include "engine/launch/report.h"

#include <string.h>

#include "engine/launch/books.h"
#include "engine/launch/control.h"
#include "engine/launch/feed.h"
#include "engine/launch/gate.h"
#include "engine/launch/pending.h"
#include "engine/launch/rescue_end.h"
#include "engine/launch/trace.h"
#include "engine/launch/work.h"
#include "engine/parts.h"
#include "engine/session/session.h"
#include "tally/assert.h"

/* When the start was out of the way, for work that is more urgent: the device may know that better
 * than the time of its report, as the blocks that have nothing left to do wait for the urgent
 * ones. */
static uint64_t cleared_ns(const struct pending *pending, const struct start *start,
                           uint64_t now_ns)
{
    uint64_t yielded_ns = start->times.yielded_ns;
    if (yielded_ns == 0 || yielded_ns > now_ns)
        return now_ns;
    return yielded_ns > pending->flag_ns ? yielded_ns : pending->flag_ns + 1;
}

/* A start that was told to stop and ran all its blocks all the same measures both, its time and
 * that of stopping it: else a kernel of one block, beside a busy high job, would stay unknown for
 * ever. One that gave way in between tells nothing of its time. */
static void measure(struct schedule *s, const struct pending *pending, const struct start *start,
                    bool stopped, uint64_t now_ns)
{
    uint64_t ns = start->times.end_ns - start->times.start_ns;
    if (pending->bytes) {
        uint64_t share = (uint64_t)((unsigned __int128)pending->bytes * (start->hi - start->lo) /
                                    pending->blocks);
        tally_rates_measure(&s->rates, pending->transfer, share, start->times.active_ns);
        return;
    }
    if (pending->flag_ns &&
        start->times.start_ns <= pending->flag_ns) { /* else there was nothing to stop yet */
        uint64_t stop_ns = cleared_ns(pending, start, now_ns) - pending->flag_ns;
        tally_plans_measure(s->plans, pending->signature, TALLY_PLAN_STOP, 0, stop_ns);
    }
    if (stopped || start->flags & TALLY_SCHED_START_RESUMED || start->times.yielded_ns)
        return;
    enum tally_plan_measurement what = start->flags & TALLY_SCHED_START_PREEMPTIBLE
                                           ? TALLY_PLAN_GUARDED
                                       : start->hi - start->lo < pending->blocks ? TALLY_PLAN_SLICE
                                                                                 : TALLY_PLAN_WHOLE;
    tally_plans_measure(s->plans, pending->signature, what, start->hi - start->lo, ns);
}

/* Blocks are left though nobody asked for that: the flag was up for another reason, such as a write
 * of it that came late. For the core the start goes on. */
static void run_again(struct schedule *s, struct pending *pending, struct start *start)
{
    control_lower(pending->session, pending->slot);
    struct tally_sched_instruction again = {
        .type = TALLY_SCHED_START,
        .launch = start->launch,
        .lo = start->lo,
        .hi = start->hi,
        .flags = start->flags | TALLY_SCHED_START_RESUMED,
    };
    start_give(s, start);
    give_todo(pending, &again);
}

/* Every start and launch of the session leaves the books. Under the lock, for which launches of
 * others wait: so nothing here goes through all that the books have room for. */
void schedule_forget(struct schedule *s, struct session *session, CUresult error)
{
    session->books.failed = error;
    const uint8_t *at = s->start_owners, *end = at + STARTS_MAX;
    while (session->books.starts_in_flight > 0 &&
           (at = memchr(at, (int)session->index + 1, (size_t)(end - at))) != NULL)
        start_give(s, &s->starts[at - s->start_owners]);
    work_forget(s, session);
    gates_forget(s, session);
    uint64_t now_ns = engine_now_ns();
    uint32_t index;
    while ((index = tally_sched_launch_of(s->core, session->index)) != NONE) {
        s->pendings[index].error = error;
        schedule_feed_at(
            s, &(struct tally_sched_event){.type = TALLY_SCHED_FAILED, .launch = index}, now_ns);
    }
}

void start_ended(struct schedule *s, struct start *start)
{
    struct pending *pending = &s->pendings[start->launch];
    uint64_t now_ns = engine_now_ns();
    struct tally_sched_event event = {
        .type = TALLY_SCHED_FINISHED,
        .launch = start->launch,
        .lo = start->lo,
        .hi = start->hi,
        .gpu_ns = start->times.active_ns,
        /* Of other drivers' starts it is not known whether they had to wait. */
        .began_ns = pending->session->driver->ops->tells_waits ? start->times.start_ns : 0,
        .cleared_ns = cleared_ns(pending, start, now_ns),
    };
    if (start->times.error) {
        pending->error = (CUresult)start->times.error;
        schedule_forget(s, pending->session, pending->error); /* nothing of it will run any more */
        return;
    }
    if (pending->traced.kind)
        trace_count_start(&pending->traced, pending->gated ? pending->opened_ns : start->issued_ns,
                          &start->times);
    if (rescue_ended(s, pending, start))
        return;
    if (is_guarded(start->flags)) {
        pending->rescue_asked = false; /* too late: it has ended */
        pending->traced.flags = TALLY_TRACE_GUARDED;
        uint32_t ran = control_read(pending->session, pending->slot);
        ran = ran < pending->blocks ? ran : pending->blocks;
        if (ran < pending->blocks && !pending->flag_ns && pending->todo_count < TODO_MAX) {
            run_again(s, pending, start);
            return;
        }
        if (ran < pending->blocks && ran >= pending->reported && pending->flag_ns) {
            pending->traced.preemptions++;
            event.type = TALLY_SCHED_PREEMPTED;
            event.blocks = ran - pending->reported;
            pending->reported = ran;
        }
        measure(s, pending, start, event.type == TALLY_SCHED_PREEMPTED, now_ns);
        control_lower(pending->session, pending->slot); /* before the core may start it again */
        pending->flag_ns = 0;
    } else {
        measure(s, pending, start, false, now_ns);
    }
    start_give(s, start);
    if (schedule_feed_at(s, &event, now_ns) != 0) {
        event.type = TALLY_SCHED_FAILED;
        schedule_feed_at(s, &event, now_ns);
    }
}

/* A start that is counted, not listed. */
static void counted_ended(struct schedule *s, struct start *start)
{
    uint32_t session = start->session->index;
    if (start->issued_ns && !start->times.error)
        start_trace(s, start);
    start_give(s, start);
    work_uncount(s, session, WORK_LAUNCH, 1, start->times.active_ns);
}

static void heard(struct schedule *s, struct start *start, const struct launch_times *times)
{
    struct pending *pending = pending_of(s, start);
    start->times = *times;
    if (start->launch == NONE)
        counted_ended(s, start);
    else if (!pending)
        start_give(s, start);
    else if (pending->state != PENDING_TAKEN)
        start_ended(s, start);
    else
        start->early = true;
}

bool schedule_report(struct schedule *s, const struct launch_times *times, uint64_t *arrived_ns)
{
    bool launch = false;
    *arrived_ns = 0;
    pthread_mutex_lock(&s->lock);
    struct start *start = start_of(s, times->tag);
    if (start) {
        launch = !start->transfer;
        *arrived_ns = start->arrived_ns;
        if (start->stoppable)
            tally_stats_add(&start->session->stats, TALLY_COUNT_STOPPABLE_NS, times->active_ns);
        heard(s, start, times);
    } else if (work_is_tag(times->tag)) {
        launch = work_kind_of(times->tag) == WORK_LAUNCH;
        work_ended(s, times->tag, 1, times->active_ns);
    }
    schedule_unlock(s);
    return launch;
}

void schedule_session_failed(struct session *session, CUresult error)
{
    struct schedule *s = session->engine->schedule;
    pthread_mutex_lock(&s->lock);
    if (session->books.scheduled)
        schedule_forget(s, session, error);
    schedule_unlock(s);
}

/* A gated launch runs whole: it cannot be started again from here. */
static struct tally_sched_event gated_event(struct schedule *s, const struct pending *pending,
                                            uint32_t index)
{
    struct tally_sched_plan plan = {.kind = TALLY_SCHED_WHOLE};
    if (pending->bytes)
        plan.whole_ns = tally_rates_estimate(&s->rates, pending->transfer, pending->bytes);
    else
        tally_plans_plan(s->plans, pending->signature, TALLY_SCHED_NEVER, &plan);
    return (struct tally_sched_event){
        .type = TALLY_SCHED_LAUNCH,
        .session = pending->session->index,
        .queue = pending->queue,
        .launch = index,
        .blocks = pending->blocks,
        .transfer = pending->bytes > 0,
        .plan.whole_ns = plan.whole_ns,
    };
}

void gate_reached(struct session *session, uint64_t tag, uint32_t place, uint32_t number)
{
    struct schedule *s = session->engine->schedule;
    pthread_mutex_lock(&s->lock);
    struct start *start = start_of(s, tag);
    if (start) {
        uint32_t index = start->launch;
        struct tally_sched_event event = gated_event(s, &s->pendings[index], index);
        pending_move(&s->pendings[index], PENDING_SUBMITTED);
        int result = schedule_feed(s, &event);
        TALLY_ASSERT(result == 0);
    } else if (!session->books.failed) {
        gate_write(session, place, number); /* of a launch that did not go */
    }
    schedule_unlock(s);
}
