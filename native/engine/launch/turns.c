/* How launches get their turn: from a session's thread to the device, when and as the core says.
 *
 * A launch that can be stopped is let go as soon as its guarded start is with the device: while it
 * runs, its thread brings the next one, so that the device need not wait for news of an end. Only
 * launches of one stream are let go together; whatever else the program asks for waits until they
 * have all been run, because one that was stopped has to be started again, ahead of that. Their
 * thread does it: in between two launches, while it waits for them, or called away from its
 * socket. */
#include "engine/launch/turns.h"

#include <string.h>

#include "engine/launch/books.h"
#include "engine/launch/control.h"
#include "engine/launch/feed.h"
#include "engine/launch/launch.h"
#include "engine/launch/open.h"
#include "engine/launch/pending.h"
#include "engine/launch/rescue.h"
#include "engine/launch/start.h"
#include "engine/launch/transfer.h"
#include "engine/parts.h"
#include "engine/session/notice.h"
#include "engine/session/reply.h"
#include "engine/session/session.h"
#include "engine/streams/queues.h"
#include "tally/assert.h"

static bool is_stale(const struct schedule *s, uint32_t index)
{
    const struct pending *pending = &s->pendings[index];
    return pending->todo_count > 0 && tally_sched_is_stale(s->core, &pending->todo[0]);
}

/* The starts that the thread is to make of the launch go back to the core, which decides again.
 * false: the core keeps them, and they are to be made. Under the lock. */
static bool give_back(struct schedule *s, uint32_t index)
{
    struct pending *pending = &s->pendings[index];
    struct tally_sched_event event = {
        .type = TALLY_SCHED_RECALLED, .launch = index, .lo = pending->todo[0].lo};
    uint32_t count = pending->todo_count;
    pending->todo_count = 0; /* the core may fill it again at once */
    bool back = schedule_feed(s, &event) == 0;
    if (!back)
        pending->todo_count = count;
    return back;
}

/* Where high has come since the next start of the launch was decided, it goes back to the core. So
 * do those of launches behind it, the youngest first: none of them may be with the device ahead of
 * it. `number`: the launch's place among those that were let go; `current`: the one that the thread
 * sees through, behind all of these, or NONE. Under the lock. */
static bool recall(struct schedule *s, struct session *session, uint32_t number, uint32_t current)
{
    bool is_open = number < open_count(session);
    uint32_t index = is_open ? open_at(session, number)->index : current;
    if (!is_stale(s, index))
        return false;
    if (is_open && current != NONE && is_stale(s, current))
        give_back(s, current);
    for (uint32_t i = open_count(session); i > number + 1; i--)
        if (is_stale(s, open_at(session, i - 1)->index))
            give_back(s, open_at(session, i - 1)->index);
    return give_back(s, index);
}

/* Under the lock, which is released around the driver's call. */
static CUresult carry_start(struct schedule *s, struct session *session, struct launch *launch,
                            uint32_t index)
{
    struct pending *pending = &s->pendings[index];
    struct tally_sched_instruction in = pending->todo[0];
    memmove(pending->todo, pending->todo + 1, --pending->todo_count * sizeof in);
    enum launch_form form = is_guarded(in.flags)             ? LAUNCH_GUARDED
                            : in.hi - in.lo < launch->blocks ? LAUNCH_SUBGRID
                                                             : LAUNCH_WHOLE;
    launch->slot = pending->slot;
    if (in.type == TALLY_SCHED_RESCUE)
        return rescue_start(s, session, launch, index);
    if (pending->issued++ == 0)
        pending_move(pending, PENDING_ISSUING);
    uint64_t tag = start_take(s, launch, index, in.lo, in.hi, in.flags);
    schedule_unlock(s);
    CUresult result =
        tag ? launch_range(session, launch, form, in.lo, in.hi, tag) : CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&s->lock);
    if (result == CUDA_SUCCESS)
        return result;
    struct start *start = start_of(s, tag);
    if (start)
        start_give(s, start);
    pending->error = result;
    if (!pending_is_over(pending))
        schedule_feed(s, &(struct tally_sched_event){.type = TALLY_SCHED_FAILED, .launch = index});
    return result;
}

/* Until the turn may have come; the caller looks whether it has. */
static void wait_turn(struct schedule *s, struct session *session)
{
    if (stores_wanted(session->driver)) {
        schedule_unlock(s);
        pthread_mutex_lock(&s->lock);
        return;
    }
    pthread_cond_wait(&session->books.turn, &s->lock);
}

/* What became of a launch that is over: the error that dropped it. */
static CUresult outcome(const struct session *session, const struct pending *pending)
{
    if (pending->state != PENDING_DROPPED || atomic_load(&session->ending))
        return CUDA_SUCCESS;
    return pending->error ? pending->error : (CUresult)atomic_load(&session->sticky);
}

/* ---- launches that were let go, under the lock ---------------------------------------------- */

/* Starts the oldest that has been stopped and may go on. false: none. */
static bool carry_open(struct schedule *s, struct session *session, uint32_t current)
{
    for (uint32_t i = 0; i < open_count(session); i++) {
        struct open_launch *open = open_at(session, i);
        if (s->pendings[open->index].todo_count == 0 || pending_is_over(&s->pendings[open->index]))
            continue;
        if (!recall(s, session, i, current))
            carry_start(s, session, &open->launch, open->index);
        return true;
    }
    return false;
}

/* Those that have been run leave; the first error among them. */
static CUresult reap(struct schedule *s, struct session *session)
{
    CUresult result = CUDA_SUCCESS;
    while (open_count(session) > 0 && pending_is_over(&s->pendings[open_at(session, 0)->index])) {
        uint32_t index = open_at(session, 0)->index;
        if (result == CUDA_SUCCESS)
            result = outcome(session, &s->pendings[index]);
        pending_give(s, index);
        open_drop_oldest(session);
    }
    return result;
}

/* Until only so many are left, or the session ends. */
static CUresult settle(struct schedule *s, struct session *session, uint32_t left)
{
    CUresult result = CUDA_SUCCESS;
    for (;;) {
        CUresult ended = reap(s, session);
        if (result == CUDA_SUCCESS)
            result = ended;
        if (open_count(session) <= left || atomic_load(&session->ending))
            return result;
        if (!carry_open(s, session, NONE))
            wait_turn(s, session);
    }
}

/* ---- a launch of a session that has to wait for its turn ------------------------------------ */

/* Until the launch is with the device to its end, or is one that is let go. Under the lock. */
static CUresult see_through(struct schedule *s, struct session *session, struct launch *launch,
                            uint32_t index)
{
    struct pending *pending = &s->pendings[index];
    CUresult result = CUDA_SUCCESS;
    bool gone = false, guarded = false;
    session->books.held_ns = engine_now_ns();
    while (!pending_is_over(pending) && !gone && result == CUDA_SUCCESS &&
           !atomic_load(&session->ending)) {
        if (carry_open(s, session, index))
            continue;
        if (pending->todo_count == 0) {
            wait_turn(s, session);
            continue;
        }
        if (recall(s, session, open_count(session), index))
            continue;
        guarded = is_guarded(pending->todo[0].flags);
        gone = guarded || pending->todo[0].flags & TALLY_SCHED_START_FINAL;
        result = carry_start(s, session, launch, index);
    }
    if (result == CUDA_SUCCESS)
        result = outcome(session, pending);
    session->books.held_ns = 0;
    if (pending_is_over(pending)) {
        pending_give(s, index);
    } else if (guarded && gone) {
        pending_move(pending, PENDING_DETACHED);
        open_add(session, launch, index);
    } else {
        pending_move(pending, PENDING_IN_FLIGHT); /* to its end, or the session's */
    }
    return result;
}

/* Whether the launch may go through the guard, now that it is known what it comes behind. */
static bool may_be_guarded(const struct session *session, const struct tally_sched_plan *plan)
{
    bool behind_guarded = open_count(session) > 0;
    return plan->kind == TALLY_SCHED_PREEMPTIBLE ||
           (plan->kind == TALLY_SCHED_WHOLE && plan->guardable && behind_guarded);
}

static void make_plan(struct schedule *s, const struct launch *launch, uint32_t index,
                      struct tally_sched_plan *plan)
{
    struct session *session = launch->session;
    if (launch->transfer) {
        uint64_t bytes = transfer_bytes(launch->transfer), bound_ns = tally_sched_bound(s->core);
        tally_rates_plan(&s->rates, launch->transfer->kind, bytes, launch->blocks, bound_ns, plan);
        return;
    }
    tally_plans_declare(s->plans, launch->signature, launch->blocks, launch->resident,
                        launch->abilities);
    tally_plans_plan(s->plans, launch->signature, tally_sched_bound(s->core), plan);
    bool ready = may_be_guarded(session, plan);
    if (ready) {
        schedule_unlock(s);
        ready = open_prepare(session, launch);
        pthread_mutex_lock(&s->lock);
        s->pendings[index].slot = open_slot(session);
    }
    plan->guardable &= ready;
    if (!ready && plan->kind == TALLY_SCHED_PREEMPTIBLE)
        plan->kind = TALLY_SCHED_WHOLE;
}

static CUresult launch_in_turn(struct schedule *s, struct session *session, struct launch *launch)
{
    while (!tally_sched_has_room(s->core, session->index) && !atomic_load(&session->ending))
        if (!carry_open(s, session, NONE))
            wait_turn(s, session);
    uint32_t index = atomic_load(&session->ending) ? NONE : pending_take(s, session, launch);
    if (index == NONE)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct tally_sched_event event = launch_event(launch, index);
    make_plan(s, launch, index, &event.plan);
    if (session->books.failed) {
        pending_give(s, index);
        return session->books.failed;
    }
    pending_move(&s->pendings[index], PENDING_SUBMITTED);
    if (schedule_feed(s, &event) == 0)
        return see_through(s, session, launch, index);
    pending_give(s, index);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* ---- what the session's thread calls -------------------------------------------------------- */

/* Around what is done with launches that were let go: who gives this thread something to do need
 * not call. */
static void enter(struct schedule *s, struct session *session)
{
    pthread_mutex_lock(&s->lock);
    session->books.in_turn = true;
}

/* The program has been told that its launch was taken: what came of it is an error of a one-way
 * op. */
static void leave(struct schedule *s, struct session *session, CUresult earlier)
{
    session->books.in_turn = false;
    schedule_unlock(s);
    if (earlier != CUDA_SUCCESS)
        session_finish(session, &(struct tally_op){.code = TALLY_OP_LAUNCH}, earlier);
}

void schedule_settle(struct session *session)
{
    struct schedule *s = session->engine->schedule;
    if (open_count(session) == 0)
        return;
    enter(s, session);
    leave(s, session, settle(s, session, 0));
}

void schedule_make_way(struct session *session, const struct launch *launch)
{
    if (open_count(session) > 0 && open_at(session, 0)->launch.stream != launch->stream)
        schedule_settle(session);
}

void schedule_go_on(struct session *session)
{
    struct schedule *s = session->engine->schedule;
    enter(s, session);
    while (!atomic_load(&session->ending) && carry_open(s, session, NONE))
        continue;
    leave(s, session, reap(s, session));
}

/* The place of a queue of the session of whose launches none is in the books; QUEUE_NONE: there is
 * none, or, with `wait`, the session ends before there is. */
static uint32_t idle_queue(struct session *session, bool wait)
{
    struct schedule *s = session->engine->schedule;
    uint32_t place = NONE;
    enter(s, session);
    while (place == NONE) {
        for (uint32_t i = 0; i < queues_max(session) && place == NONE; i++)
            if (session->books.queue_starts[i] == 0)
                place = i;
        if (!wait || atomic_load(&session->ending))
            break;
        if (place == NONE && !carry_open(s, session, NONE))
            wait_turn(s, session);
    }
    leave(s, session, CUDA_SUCCESS);
    return atomic_load(&session->ending) ? NONE : place;
}

bool queue_take(struct session *session, struct stream *stream)
{
    return stream->queue != QUEUE_NONE || queue_take_free(session, stream) ||
           queue_take_over(session, stream, idle_queue(session, false));
}

bool queue_wait(struct session *session, struct stream *stream)
{
    if (queue_take(session, stream))
        return true;
    session_tell(session,
                 "launches wait for those of other streams: `stream_queues_max` in tallyd's "
                 "config lets %u streams of a process have work at a time",
                 queues_max(session));
    return queue_take_over(session, stream, idle_queue(session, true));
}

CUresult schedule_launch(struct session *session, struct launch *launch)
{
    struct schedule *s = session->engine->schedule;
    if (!queue_wait(session, launch->stream))
        return CUDA_ERROR_OUT_OF_MEMORY; /* the session ends */
    enter(s, session);
    /* What cannot go through the guard could not start before they have all been run. */
    uint32_t left = launch->abilities & TALLY_PLAN_CAN_GUARD ? GUARDED_MAX - 1 : 0;
    CUresult earlier = settle(s, session, left), result = CUDA_SUCCESS;
    if (earlier == CUDA_SUCCESS)
        result = launch_in_turn(s, session, launch);
    bool full = result == CUDA_ERROR_OUT_OF_MEMORY && s->pending_free == NONE;
    leave(s, session, earlier);
    if (full)
        schedule_tell_full(session);
    return result;
}
