/* The life of a launch: submitted, started in one or more parts, stopped, finished, retired. What
 * its starts count for is kept in starts.c. */
#include "launches.h"

#include "gaps.h"
#include "lists.h"
#include "policy.h"
#include "starts.h"
#include "state.h"
#include "turnaround.h"

static struct class_sums *sums_of(struct tally_sched *s, uint32_t session)
{
    return &s->sums[s->sessions[session].class_];
}

void tally_sched_count_busy(struct tally_sched *s, uint32_t class_, int by)
{
    s->sums[class_].busy += (uint32_t)by;
    if (class_ == TALLY_SCHED_BEST_EFFORT && by > 0 && s->sums[class_].busy == 2)
        s->contended_ns = s->now_ns;
}

void tally_sched_submit(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct launch *launch = &s->launches[event->launch];
    struct session *session = &s->sessions[event->session];
    struct class_sums *sums = sums_of(s, event->session);
    *launch = (struct launch){.used = true,
                              .session = event->session,
                              .queue = event->queue,
                              .blocks = event->blocks,
                              .plan = event->plan,
                              .submitted_ns = s->now_ns,
                              .sequence = s->sequence++,
                              .transfer = event->transfer};
    tally_sched_queue_add(s, event->launch);
    if (tally_sched_is_idle(session))
        tally_sched_count_busy(s, session->class_, 1);
    session->outstanding++;
    session->stats.launches += !event->transfer;
    if (sums->outstanding++ == 0 && session->class_ == TALLY_SCHED_HIGH) {
        tally_sched_high_came(s);
        tally_sched_note_arrival(s, event->session);
    }
    tally_sched_waiting_add(s, event->launch);
}

void tally_sched_retire(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    struct session *session = &s->sessions[launch->session];
    TALLY_ASSERT(launch->starts == 0);
    if (launch->waiting)
        tally_sched_waiting_remove(s, index);
    tally_sched_queue_remove(s, index);
    session->outstanding--;
    if (tally_sched_is_idle(session))
        tally_sched_count_busy(s, session->class_, -1);
    if (--sums_of(s, launch->session)->outstanding == 0 && session->class_ == TALLY_SCHED_HIGH)
        tally_sched_high_went(s);
    launch->used = false;
}

struct tally_sched_instruction *tally_sched_emit(struct tally_sched *s, uint32_t type)
{
    TALLY_ASSERT(s->out_count < s->out_max);
    struct tally_sched_instruction *out = &s->out[s->out_count++];
    *out = (struct tally_sched_instruction){.type = type};
    return out;
}

/* ---- starting ------------------------------------------------------------------------------- */

bool tally_sched_would_be_guarded(const struct tally_sched *s, const struct launch *launch,
                                  enum form form)
{
    if (form != FORM_PLAN)
        return false;
    const struct tally_sched_plan *plan = &launch->plan;
    if (plan->kind != TALLY_SCHED_WHOLE)
        return plan->kind == TALLY_SCHED_PREEMPTIBLE;
    return plan->guardable && s->queues[launch->queue].guarded > 0;
}

/* What may still run of a guarded launch once its flag is up. */
static uint64_t stop_of(const struct tally_sched *s, const struct launch *launch)
{
    const struct tally_sched_plan *plan = &launch->plan;
    return plan->stop_ns                                       ? plan->stop_ns
           : plan->kind == TALLY_SCHED_WHOLE && plan->whole_ns ? plan->whole_ns
                                                               : tally_sched_bound(s);
}

static uint32_t end_of(const struct launch *launch, enum form form)
{
    uint32_t left = launch->blocks - launch->issued;
    if (form == FORM_PLAN && launch->plan.kind == TALLY_SCHED_SLICED &&
        left > launch->plan.slice_blocks)
        return launch->issued + launch->plan.slice_blocks;
    return launch->blocks;
}

uint64_t tally_sched_unstoppable_of(const struct tally_sched *s, const struct launch *launch,
                                    enum form form)
{
    if (tally_sched_would_be_guarded(s, launch, form))
        return stop_of(s, launch);
    if (launch->plan.whole_ns == 0)
        return tally_sched_bound(s); /* whatever it takes: nothing else beside it */
    uint32_t hi = end_of(launch, form), count = hi - launch->issued;
    if (form == FORM_PLAN && launch->plan.kind == TALLY_SCHED_SLICED)
        return launch->plan.slice_ns;
    if (count == launch->blocks)
        return launch->plan.whole_ns;
    return (uint64_t)((unsigned __int128)launch->plan.whole_ns * count / launch->blocks);
}

uint64_t tally_sched_charge_of(const struct tally_sched *s, const struct launch *launch,
                               enum form form)
{
    uint64_t charge = tally_sched_unstoppable_of(s, launch, form),
             held = s->queues[launch->queue].charge_ns;
    if (!tally_sched_would_be_guarded(s, launch, form))
        return charge;
    return charge > held ? charge - held : 0;
}

bool tally_sched_startable(const struct tally_sched *s, const struct queue *queue, enum form form)
{
    if (queue->cursor == NONE || queue->preempting > 0 || s->sessions[queue->session].closing)
        return false;
    if (queue->starts == 0)
        return true;
    const struct launch *launch = &s->launches[queue->cursor];
    /* Behind a guarded start only another guarded one: the flag that stops the first stops it too.
     */
    if (queue->guarded > 0)
        return tally_sched_would_be_guarded(s, launch, form) && launch->starts == 0 &&
               queue->guarded < s->limits.preemptible_depth;
    /* Behind whole launches and slices the stream's own order is enough. */
    return launch->starts < SLICES_MAX;
}

uint32_t tally_sched_next_of(struct tally_sched *s, const struct session *session, enum form form,
                             tally_sched_suits *suits)
{
    uint32_t at = session->ring;
    if (at == NONE || session->waiting == 0)
        return NONE;
    do {
        const struct queue *queue = &s->queues[at];
        if (tally_sched_startable(s, queue, form) &&
            (!suits || suits(s, &s->launches[queue->cursor], form)))
            return queue->cursor;
        at = queue->next;
    } while (at != session->ring);
    return NONE;
}

uint32_t tally_sched_level_of(const struct tally_sched *s, const struct session *session)
{
    if (session->class_ != TALLY_SCHED_HIGH || !tally_sched_policy_is(s, TALLY_SCHED_LEVELS))
        return 0;
    uint32_t top = s->config.levels - 1;
    uint32_t extra = session->priority > 0 ? (uint32_t)session->priority : 0;
    return extra < top ? 1 + extra : top;
}

void tally_sched_start(struct tally_sched *s, uint32_t index, enum form form, uint32_t level)
{
    struct launch *launch = &s->launches[index];
    bool flag = tally_sched_would_be_guarded(s, launch, form);
    uint64_t charge_ns = tally_sched_unstoppable_of(s, launch, form);
    uint32_t hi = end_of(launch, form);
    struct tally_sched_instruction *out = tally_sched_emit(s, TALLY_SCHED_START);
    out->launch = index;
    out->session = launch->session;
    out->lo = launch->issued;
    out->hi = hi;
    out->level = level;
    out->epoch = s->epoch;
    out->flags = (flag                   ? TALLY_SCHED_START_PREEMPTIBLE
                  : hi == launch->blocks ? TALLY_SCHED_START_FINAL
                                         : 0) |
                 (launch->preempted ? TALLY_SCHED_START_RESUMED : 0);
    tally_sched_book_start(s, index, hi, charge_ns, flag);
}

void tally_sched_adopt(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    tally_sched_book_start(s, index, launch->blocks, tally_sched_charge_of(s, launch, FORM_WHOLE),
                           false);
}

bool tally_sched_start_all(struct tally_sched *s, enum tally_sched_class class_)
{
    uint32_t at = s->waiting[class_].head;
    while (at != NONE) {
        if (tally_sched_out_full(s))
            return false;
        struct launch *launch = &s->launches[at];
        struct queue *queue = &s->queues[launch->queue];
        uint32_t next = launch->waiting_next;
        if (queue->cursor == at && tally_sched_startable(s, queue, FORM_WHOLE))
            tally_sched_start(s, at, FORM_WHOLE,
                              tally_sched_level_of(s, &s->sessions[launch->session]));
        at = next;
    }
    return true;
}

void tally_sched_preempt(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    TALLY_ASSERT(launch->guarded && !launch->preempting);
    launch->preempting = true;
    s->queues[launch->queue].preempting++;
    struct tally_sched_instruction *out = tally_sched_emit(s, TALLY_SCHED_PREEMPT);
    out->launch = index;
    out->session = launch->session;
}

/* The list of guarded starts has the youngest at its head. */
bool tally_sched_preempt_queue(struct tally_sched *s, uint32_t queue)
{
    for (uint32_t at = s->guarded; at != NONE; at = s->launches[at].guarded_next) {
        if (s->launches[at].queue != queue || s->launches[at].preempting)
            continue;
        if (tally_sched_out_full(s))
            return false;
        tally_sched_preempt(s, at);
    }
    return true;
}

/* ---- reports from the device ---------------------------------------------------------------- */

static void end_launch(struct tally_sched *s, uint32_t index, uint32_t type)
{
    struct launch *launch = &s->launches[index];
    struct tally_sched_instruction *out = tally_sched_emit(s, type);
    out->launch = index;
    out->session = launch->session;
    if (type == TALLY_SCHED_COMPLETE)
        s->sessions[launch->session].stats.completed += !launch->transfer;
    tally_sched_retire(s, index);
}

int tally_sched_finish(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct launch *launch = &s->launches[event->launch];
    /* A queue is one stream: what finishes is the oldest thing in it. */
    if (launch->starts == 0 || launch->prev != NONE || event->lo != launch->lo ||
        event->hi != launch->ends[0])
        return TALLY_SCHED_INVALID;
    tally_sched_book_end(s, event->launch, event);
    launch->lo = launch->done = event->hi;
    if (launch->done == launch->blocks)
        end_launch(s, event->launch, TALLY_SCHED_COMPLETE);
    return 0;
}

int tally_sched_stop(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct launch *launch = &s->launches[event->launch];
    if (!launch->preempting || event->blocks > launch->blocks - launch->done ||
        event->lo < launch->lo || event->lo > launch->done + event->blocks ||
        (launch->prev != NONE && event->blocks > 0))
        return TALLY_SCHED_INVALID;
    tally_sched_book_end(s, event->launch, event);
    launch->done += event->blocks;
    s->sessions[launch->session].stats.preemptions++;
    if (launch->done == launch->blocks) {
        end_launch(s, event->launch, TALLY_SCHED_COMPLETE);
        return 0;
    }
    launch->lo = launch->issued = event->lo;
    launch->preempted = true;
    tally_sched_waiting_add(s, event->launch);
    tally_sched_queue_rewind(s, launch->queue);
    return 0;
}

int tally_sched_fail(struct tally_sched *s, uint32_t index)
{
    struct launch *launch = &s->launches[index];
    if (launch->starts > 0)
        tally_sched_book_end(s, index, NULL);
    end_launch(s, index, TALLY_SCHED_DROPPED);
    return 0;
}

int tally_sched_recall(struct tally_sched *s, const struct tally_sched_event *event)
{
    struct launch *launch = &s->launches[event->launch];
    uint32_t kept = 0, lo = launch->lo;
    bool overtaken = launch->next != NONE && s->launches[launch->next].starts > 0;
    while (kept < launch->starts && lo != event->lo)
        lo = launch->ends[kept++];
    if (kept == launch->starts || launch->guarded || overtaken)
        return TALLY_SCHED_INVALID;
    if (event->lo == 0 && !launch->preempted)
        s->sessions[launch->session].stats.waited_ns -= launch->started_ns - launch->submitted_ns;
    tally_sched_unbook_starts(s, event->launch, launch->starts - kept);
    launch->issued = event->lo;
    if (!launch->waiting)
        tally_sched_waiting_add(s, event->launch);
    tally_sched_queue_rewind(s, launch->queue);
    return 0;
}
