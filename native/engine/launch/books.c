/* Launches and starts that are with the scheduler or the device, by number. */
#include "engine/launch/books.h"

#include <stddef.h>
#include <string.h>
#include <time.h>

#include "engine/launch/launch.h"
#include "engine/launch/pending.h"
#include "engine/launch/session_books.h"
#include "engine/launch/trace.h"
#include "engine/launch/transfer.h"
#include "engine/parts.h"
#include "engine/session/notice.h"
#include "engine/session/session.h"
#include "engine/streams/stream.h"

static struct tally_trace_record traced(const struct session *session, uint32_t queue,
                                        uint64_t signature, uint64_t submit_ns)
{
    return (struct tally_trace_record){.kind = TALLY_TRACE_LAUNCH,
                                       .session = session->config.session,
                                       .stream = queue,
                                       .signature = signature,
                                       .submit_ns = submit_ns};
}

uint32_t pending_take(struct schedule *s, struct session *session, const struct launch *launch)
{
    uint32_t index = s->pending_free;
    if (index == NONE)
        return NONE;
    struct pending *pending = &s->pendings[index];
    uint32_t serial = pending->serial + 1;
    s->pending_free = pending->next_free;
    enum pending_state state = pending->state;
    memset(pending, 0, offsetof(struct pending, traced));
    pending->state = state;
    pending_move(pending, PENDING_TAKEN);
    s->pending_end = index < s->pending_end ? s->pending_end : index + 1;
    pending->session = session;
    pending->serial = serial;
    pending->blocks = launch->blocks;
    pending->signature = launch->signature;
    pending->traced.kind = 0;
    if (launch->transfer) {
        pending->bytes = transfer_bytes(launch->transfer);
        pending->transfer = launch->transfer->kind;
    } else if (trace_is_on(&s->engine->trace))
        pending->traced = traced(session, QUEUE_OF(launch), launch->signature, launch->arrived_ns);
    return index;
}

void pending_give(struct schedule *s, uint32_t index)
{
    pending_move(&s->pendings[index], PENDING_FREE);
    s->pendings[index].next_free = s->pending_free;
    s->pending_free = index;
}

uint64_t start_take(struct schedule *s, const struct launch *what, uint32_t launch, uint32_t lo,
                    uint32_t hi, uint32_t flags)
{
    struct session *session = what->session;
    uint32_t index = s->start_free, queue = QUEUE_OF(what);
    if (index == NONE)
        return 0;
    struct start *start = &s->starts[index];
    s->start_free = start->next_free;
    uint32_t generation = start->generation + 1;
    s->start_owners[index] = (uint8_t)(session->index + 1);
    session->books.starts_in_flight++;
    session->books.queue_starts[queue]++;
    *start = (struct start){.generation = generation ? generation : 1,
                            .queue = queue,
                            .launch = launch,
                            .lo = lo,
                            .hi = hi,
                            .flags = flags,
                            .arrived_ns = what->arrived_ns,
                            /* High goes at once. */
                            .taken_ns = session->config.high ? what->arrived_ns : engine_now_ns(),
                            .signature = what->signature,
                            .session = session,
                            .stoppable = launch_is_stoppable(what),
                            .transfer = what->transfer != NULL};
    if (!what->transfer && trace_is_on(&s->engine->trace))
        start->issued_ns = engine_now_ns();
    if (launch != NONE)
        start->serial = s->pendings[launch].serial;
    return (uint64_t)start->generation << 32 | index;
}

struct start *start_of(struct schedule *s, uint64_t tag)
{
    uint32_t index = (uint32_t)tag;
    if (tag == 0 || index >= STARTS_MAX)
        return NULL;
    struct start *start = &s->starts[index];
    return start->session && start->generation == (uint32_t)(tag >> 32) ? start : NULL;
}

/* NULL: the launch was dropped, or was never in the books; a report then only frees the start. */
struct pending *pending_of(struct schedule *s, const struct start *start)
{
    struct pending *pending = start->launch == NONE ? NULL : &s->pendings[start->launch];
    return pending && pending->state != PENDING_FREE && !pending_is_over(pending) &&
                   pending->serial == start->serial
               ? pending
               : NULL;
}

void start_give(struct schedule *s, struct start *start)
{
    start->session->books.starts_in_flight--;
    start->session->books.queue_starts[start->queue]--;
    start->session->books.end_ns = engine_now_ns();
    start->session = NULL;
    start->next_free = s->start_free;
    s->start_free = (uint32_t)(start - s->starts);
    s->start_owners[s->start_free] = 0;
}

void start_trace(struct schedule *s, const struct start *start)
{
    struct tally_trace_record record =
        traced(start->session, start->queue, start->signature, start->arrived_ns);
    trace_count_start(&record, start->issued_ns, &start->times);
    trace_add(&s->engine->trace, &record);
}

bool launch_is_stoppable(const struct launch *launch)
{
    return !launch->session->config.high && (launch->abilities & TALLY_PLAN_CAN_GUARD);
}

void launch_trace_untimed(const struct launch *launch)
{
    trace_add(&launch->session->engine->trace,
              &(struct tally_trace_record){.kind = TALLY_TRACE_LAUNCH,
                                           .flags = TALLY_TRACE_UNTIMED,
                                           .session = launch->session->config.session,
                                           .signature = launch->signature,
                                           .stream = TALLY_TRACE_NO_STREAM,
                                           .submit_ns = launch->arrived_ns,
                                           .issue_ns = engine_now_ns(),
                                           .starts = 1});
}

void books_init(struct session *session)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&session->books.turn, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void books_destroy(struct session *session) { pthread_cond_destroy(&session->books.turn); }

struct tally_sched_event launch_event(const struct launch *launch, uint32_t index)
{
    return (struct tally_sched_event){
        .type = TALLY_SCHED_LAUNCH,
        .session = launch->session->index,
        .queue = launch->stream->queue,
        .launch = index,
        .blocks = launch->blocks,
        .transfer = launch->transfer != NULL,
    };
}

void schedule_tell_full(struct session *session)
{
    session_tell(session,
                 "a launch was refused: all programs together have %u launches and copies "
                 "queued on the device, and can have no more",
                 LAUNCHES_MAX);
}
