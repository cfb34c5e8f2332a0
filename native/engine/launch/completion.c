/* How the end of a start is learnt from a driver that does not report it: an event behind it, and a
 * thread of the session that waits for that event. The starts of one queue make a lane, of which
 * only the first is with the waiter: so they are reported in order, and no queue waits for another
 * one. */
#include "engine/launch/completion.h"

#include "engine/launch/control.h"
#include "engine/launch/report.h"
#include "engine/launch/start.h"
#include "engine/launch/times.h"
#include "engine/launch/work.h"
#include "engine/parts.h"
#include "engine/session/event_pool.h"
#include "engine/session/session.h"
#include "engine/session/waiter.h"
#include "engine/streams/queues.h"

/* A stream without a queue shares a lane: what shares one is reported in order, so some of it
 * later. */
static uint32_t lane_of(const struct stream *stream)
{
    uintptr_t place =
        stream->queue == QUEUE_NONE ? (uintptr_t)stream / sizeof *stream : stream->queue;
    return (uint32_t)(place % SESSION_QUEUES_MAX);
}

/* What comes behind the lane's first item, which stays with its caller; NULL: nothing, the lane is
 * empty. */
static struct wait_item *advance(struct session *session, uint32_t lane)
{
    struct lane *at = &session->lanes.at[lane];
    pthread_mutex_lock(&session->lanes.lock);
    while (at->joining)
        pthread_cond_wait(&session->lanes.joined, &session->lanes.lock);
    struct wait_item *next = at->next;
    if (next)
        at->next = next->next;
    else
        at->busy = false;
    pthread_mutex_unlock(&session->lanes.lock);
    return next;
}

static void done(struct session *session, struct wait_item *item, CUresult result)
{
    uint32_t lane = (uint32_t)(item->b >> 16);
    enum launch_form form = (enum launch_form)(item->b & 255);
    struct wait_item *next;
    if (result == CUDA_ERROR_DEINITIALIZED) {
        while ((next = advance(session,
                               lane))) /* the session takes its launches out of the books itself */
            wait_item_free(session, next);
        return;
    }
    if (form == LAUNCH_GUARDED && result == CUDA_SUCCESS)
        result = control_fetch(session, item->b >> 8 & 255);
    uint64_t before_ns = session->lanes.at[lane].end_ns, end_ns = engine_now_ns();
    session->lanes.at[lane].end_ns = end_ns; /* one item of a lane at a time */
    struct launch_times times = {
        .tag = item->a,
        .start_ns = item->c > before_ns ? item->c : before_ns,
        .end_ns = end_ns,
        .active_ns = end_ns - (item->c > before_ns ? item->c : before_ns),
        .error = (int32_t)result,
    };
    uint64_t arrived_ns;
    if (form == LAUNCH_REACHED && result == CUDA_SUCCESS)
        gate_reached(session, times.tag, lane, (uint32_t)item->c);
    else if (form == LAUNCH_REACHED)
        ; /* the session has failed */
    else if (work_is_tag(times.tag))
        work_end(session, times.tag, item->pieces, times.active_ns);
    else
        schedule_report(session->engine->schedule, &times, &arrived_ns);
    if ((next = advance(session, lane)))
        waiter_add(&session->lanes.waiter, next);
}

/* Work that is only counted joins the lane's last item if that is the same stream's: its event then
 * stands for both. So however much is outstanding, a lane has few items. Session thread, as for all
 * that adds to a lane: while it records, the item stays the last. */
static bool join_last(struct session *session, const struct stream *stream, uint64_t tag)
{
    struct lane *at = &session->lanes.at[lane_of(stream)];
    pthread_mutex_lock(&session->lanes.lock);
    struct wait_item *last = at->next ? at->last : NULL;
    bool same = last && last->a == tag && last->stream == stream;
    at->joining = same;
    pthread_mutex_unlock(&session->lanes.lock);
    if (!same)
        return false;
    bool joins = session->driver->cu.cuEventRecord(last->events[0], stream->driver) == CUDA_SUCCESS;
    pthread_mutex_lock(&session->lanes.lock);
    at->joining = false;
    last->pieces += joins;
    pthread_cond_broadcast(&session->lanes.joined);
    pthread_mutex_unlock(&session->lanes.lock);
    return joins;
}

static void add(struct session *session, uint32_t lane, struct wait_item *item)
{
    struct lane *at = &session->lanes.at[lane];
    pthread_mutex_lock(&session->lanes.lock);
    bool first = !at->busy;
    at->busy = true;
    if (!first) {
        item->next = NULL;
        *(at->next ? &at->last->next : &at->next) = item;
        at->last = item;
    }
    pthread_mutex_unlock(&session->lanes.lock);
    if (first)
        waiter_add(&session->lanes.waiter, item);
}

CUresult completion_add(struct session *session, const struct stream *stream, uint32_t slot,
                        enum launch_form form, uint64_t tag)
{
    if (work_is_tag(tag) && join_last(session, stream, tag))
        return CUDA_SUCCESS;
    struct wait_item *item = wait_item_new(done, 1);
    if (!item)
        return CUDA_ERROR_OUT_OF_MEMORY;
    item->a = tag;
    bool reached = form == LAUNCH_REACHED;
    item->b = (uint64_t)lane_of(stream) << 16 | (reached ? 0 : slot << 8) | form;
    item->stream = stream;
    item->pieces = 1;
    item->c = reached ? slot : engine_now_ns();
    CUresult result = event_pool_get(session, &item->events[0]);
    if (result == CUDA_SUCCESS) {
        item->event_count = 1;
        result = session->driver->cu.cuEventRecord(item->events[0], stream->driver);
    }
    if (result == CUDA_SUCCESS)
        add(session, lane_of(stream), item);
    else
        wait_item_free(session, item);
    return result;
}

void completion_init(struct session *session)
{
    pthread_mutex_init(&session->lanes.lock, NULL);
    pthread_cond_init(&session->lanes.joined, NULL);
    waiter_init(&session->lanes.waiter, session, "tally-ends", WAITER_THREADS_MAX);
}

void completion_stop(struct session *session) { waiter_stop(&session->lanes.waiter); }

void completion_close(struct session *session)
{
    pthread_cond_destroy(&session->lanes.joined);
    pthread_mutex_destroy(&session->lanes.lock);
}
