/* The books of starts in flight. What a start counts for, its queue, its session and the session's
 * class count for too: these move together here and nowhere else. */
#include "starts.h"

#include <string.h>

#include "lists.h"
#include "state.h"
#include "turnaround.h"

/* A queue's guarded starts run one after the other, behind its unguarded ones. A guarded start
 * that has not begun when its flag goes up does not begin. So together they delay high by the
 * unguarded ones, or by the longest guarded one, whichever is more. */
static void recharge_queue(struct tally_sched *s, struct queue *queue)
{
    uint64_t largest = queue->unguarded_ns;
    uint32_t left = queue->guarded;
    for (uint32_t at = queue->head; left > 0; at = s->launches[at].next) {
        const struct launch *launch = &s->launches[at];
        if (!launch->guarded)
            continue;
        if (launch->charge_ns > largest)
            largest = launch->charge_ns;
        left--;
    }
    struct session *session = &s->sessions[queue->session];
    session->charge_ns += largest - queue->charge_ns;
    s->sums[session->class_].charge_ns += largest - queue->charge_ns;
    queue->charge_ns = largest;
}

/* Device time counts against a session's share only while somebody else wanted the device too. */
static void charge_share(struct tally_sched *s, struct session *session, uint64_t gpu_ns)
{
    const struct class_sums *sums = &s->sums[session->class_];
    uint64_t contended = s->now_ns - s->contended_ns;
    if (session->class_ != TALLY_SCHED_BEST_EFFORT || sums->busy < 2)
        return;
    if (gpu_ns > contended)
        gpu_ns = contended;
    int64_t *deficit_ns = &s->jobs[session->job].deficit_ns;
    *deficit_ns -= (int64_t)(gpu_ns < INT64_MAX / 4 ? gpu_ns : INT64_MAX / 4);
    if (*deficit_ns < INT64_MIN / 2)
        *deficit_ns = INT64_MIN / 2;
}

void tally_sched_book_start(struct tally_sched *s, uint32_t index, uint32_t hi, uint64_t charge_ns,
                            bool guarded)
{
    struct launch *launch = &s->launches[index];
    struct queue *queue = &s->queues[launch->queue];
    struct session *session = &s->sessions[launch->session];
    struct class_sums *sums = &s->sums[session->class_];
    if (launch->starts == 0)
        launch->started_ns = s->now_ns;
    if (launch->issued == 0 && !launch->preempted)
        session->stats.waited_ns += s->now_ns - launch->submitted_ns;
    launch->numbers[launch->starts] =
        session->class_ == TALLY_SCHED_BEST_EFFORT ? ++s->best_effort_starts : 0;
    launch->ends[launch->starts++] = hi;
    launch->issued = hi;
    session->stats.starts += !launch->transfer;
    session->starts++;
    sums->starts++;
    queue->starts++;
    launch->charge_ns += charge_ns;
    if (guarded)
        tally_sched_guarded_add(s, index);
    else
        queue->unguarded_ns += charge_ns;
    recharge_queue(s, queue);
    if (launch->issued == launch->blocks) {
        tally_sched_waiting_remove(s, index);
        queue->cursor = launch->next;
    }
    session->ring = queue->next; /* the session's queues take turns */
}

void tally_sched_book_end(struct tally_sched *s, uint32_t index,
                          const struct tally_sched_event *event)
{
    struct launch *launch = &s->launches[index];
    struct queue *queue = &s->queues[launch->queue];
    struct session *session = &s->sessions[launch->session];
    struct class_sums *sums = &s->sums[session->class_];
    uint64_t gpu_ns = event ? event->gpu_ns : 0;
    if (gpu_ns == 0) {
        uint64_t last = s->last_finish_ns[session->class_];
        gpu_ns = s->now_ns - (launch->started_ns > last ? launch->started_ns : last);
    }
    s->last_finish_ns[session->class_] = s->now_ns;
    session->stats.gpu_ns += gpu_ns;
    charge_share(s, session, gpu_ns);

    uint32_t ended = event ? 1 : launch->starts;
    uint64_t charge_ns = launch->charge_ns;
    if (ended < launch->starts)
        charge_ns /= launch->starts; /* slices are alike; the last takes the rest */
    launch->charge_ns -= charge_ns;
    launch->starts -= ended;
    if (session->class_ == TALLY_SCHED_BEST_EFFORT)
        tally_sched_note_clearance(s, launch, ended, event);
    for (uint32_t i = 0; i < launch->starts; i++) {
        launch->ends[i] = launch->ends[i + ended];
        launch->numbers[i] = launch->numbers[i + ended];
    }
    queue->starts -= ended;
    session->starts -= ended;
    sums->starts -= ended;
    if (launch->guarded)
        tally_sched_guarded_remove(s, index);
    else
        queue->unguarded_ns -= charge_ns;
    recharge_queue(s, queue);
    if (session->class_ == TALLY_SCHED_BEST_EFFORT && sums->starts == 0)
        s->allowance_ns = 0;
}

void tally_sched_unbook_starts(struct tally_sched *s, uint32_t index, uint32_t count)
{
    struct launch *launch = &s->launches[index];
    struct queue *queue = &s->queues[launch->queue];
    struct session *session = &s->sessions[launch->session];
    struct class_sums *sums = &s->sums[session->class_];
    uint32_t left = launch->starts - count;
    uint64_t charge_ns = left == 0 ? launch->charge_ns : launch->charge_ns / launch->starts * count;
    uint64_t numbers[SLICES_MAX];
    launch->charge_ns -= charge_ns;
    launch->starts = left;
    session->stats.starts -= launch->transfer ? 0 : count;
    session->starts -= count;
    sums->starts -= count;
    queue->starts -= count;
    queue->unguarded_ns -= charge_ns;
    recharge_queue(s, queue);
    if (session->class_ != TALLY_SCHED_BEST_EFFORT)
        return;
    /* Arrivals look at a launch's oldest starts, as if they had ended; these go there for the
     * call. They were in nobody's way. */
    memcpy(numbers, launch->numbers, sizeof numbers);
    memcpy(launch->numbers, numbers + left, count * sizeof *numbers);
    memcpy(launch->numbers + count, numbers, left * sizeof *numbers);
    struct tally_sched_event never = {.began_ns = s->now_ns + 1};
    tally_sched_note_clearance(s, launch, count, &never);
    memcpy(launch->numbers, numbers, sizeof numbers);
    if (sums->starts == 0)
        s->allowance_ns = 0;
}
