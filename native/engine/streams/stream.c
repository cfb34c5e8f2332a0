/* Streams, and CUDA's legacy default-stream ordering among them.
 *
 * Every driver stream is non-blocking, so that sessions never wait for one another. What CUDA promises
 * inside one program is rebuilt with events, and costs nothing while only one stream is in use:
 *   - work in the legacy stream waits for all prior work of the session's blocking streams (dirty ones);
 *   - later work of a blocking stream waits for the legacy work before it (legacy_seen < legacy_count). */
#include <stdlib.h>

#include "engine/launch/schedule.h"
#include "engine/session/session.h"
#include "engine/streams/queues.h"

/* What the policy wants the device to know of the session's class. */
static int priority_of(struct session *session)
{
    int least, greatest;
    engine_stream_priorities(session->engine, &least, &greatest);
    return session->config.high && schedule_uses_levels(engine_schedule(session->engine)) ? greatest : least;
}

static CUresult stream_new(struct session *session, bool blocking, struct stream **out)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return CUDA_ERROR_OUT_OF_MEMORY;
    stream->priority = priority_of(session);
    CUresult result = session->driver->cu.cuStreamCreateWithPriority(&stream->driver, CU_STREAM_NON_BLOCKING,
                                                                     stream->priority);
    if (result != CUDA_SUCCESS) {
        free(stream);
        return result;
    }
    stream->blocking = blocking;
    stream->legacy_seen = 0;
    stream->queue = QUEUE_NONE;
    pthread_mutex_lock(&session->streams_lock);
    stream->next = session->stream_list;
    session->stream_list = stream;
    pthread_mutex_unlock(&session->streams_lock);
    *out = stream;
    return CUDA_SUCCESS;
}

struct stream *stream_find(struct session *session, uint64_t handle)
{
    if (handle != TALLY_STREAM_LEGACY)
        return table_get(&session->streams, handle);
    if (!session->legacy && stream_new(session, false, &session->legacy) == CUDA_SUCCESS)
        session->legacy->handle = TALLY_STREAM_LEGACY;
    return session->legacy;
}

/* `waits` goes on only when what `stream` has now is done. */
static CUresult join_driver(struct session *session, CUstream stream, CUstream waits)
{
    CUevent event;
    CUresult result = event_pool_get(session, &event);
    if (result != CUDA_SUCCESS)
        return result;
    result = session->driver->cu.cuEventRecord(event, stream);
    if (result == CUDA_SUCCESS)
        result = session->driver->cu.cuStreamWaitEvent(waits, event, 0);
    event_pool_put(session, event); /* the wait took the recorded work, not the event */
    return result;
}

static CUresult join(struct session *session, struct stream *stream, struct stream *waits)
{
    return join_driver(session, stream->driver, waits->driver);
}

/* A driver's stream has its priority for life, a policy may be switched: then the stream goes on in another
 * one of the driver's, behind what it has so far. If the driver has none to give, all stays as it is. */
static CUresult follow_priority(struct session *session, struct stream *stream)
{
    const struct tally_driver *cu = &session->driver->cu;
    int wanted = priority_of(session);
    CUstream fresh;
    if (stream->priority == wanted)
        return CUDA_SUCCESS;
    stream->priority = wanted;
    if (cu->cuStreamCreateWithPriority(&fresh, CU_STREAM_NON_BLOCKING, wanted) != CUDA_SUCCESS)
        return CUDA_SUCCESS;
    CUresult result = join_driver(session, stream->driver, fresh);
    CUstream last = result == CUDA_SUCCESS ? stream->driver : fresh;
    if (result == CUDA_SUCCESS)
        stream->driver = fresh;
    cu->cuStreamDestroy_v2(last); /* what it holds still runs */
    return result;
}

/* Dirty streams that turn out to be idle need no join. */
static CUresult enter_legacy(struct session *session)
{
    struct stream *legacy = session->legacy;
    for (struct stream *stream = session->stream_list; stream && session->dirty_count; stream = stream->next) {
        if (!stream->dirty)
            continue;
        CUresult result = stream_query(session, stream);
        if (result == CUDA_ERROR_NOT_READY)
            result = join(session, stream, legacy);
        if (result != CUDA_SUCCESS)
            return result;
        stream->dirty = false;
        session->dirty_count--;
    }
    session->legacy_count++;
    return CUDA_SUCCESS;
}

static CUresult enter_blocking(struct session *session, struct stream *stream)
{
    if (stream->legacy_seen < session->legacy_count) {
        CUresult result = stream_query(session, session->legacy);
        if (result == CUDA_ERROR_NOT_READY)
            result = join(session, session->legacy, stream);
        if (result != CUDA_SUCCESS)
            return result;
        stream->legacy_seen = session->legacy_count;
    }
    if (!stream->dirty) {
        stream->dirty = true;
        session->dirty_count++;
    }
    return CUDA_SUCCESS;
}

CUresult stream_enter(struct session *session, struct stream *stream)
{
    CUresult result = follow_priority(session, stream);
    if (result == CUDA_SUCCESS && stream == session->legacy)
        result = enter_legacy(session);
    else if (result == CUDA_SUCCESS && stream->blocking)
        result = enter_blocking(session, stream);
    stream->active = true;
    return result;
}

CUresult stream_query(struct session *session, struct stream *stream)
{
    if (!stream->active)
        return CUDA_SUCCESS;
    CUresult result = session->driver->cu.cuStreamQuery(stream->driver);
    if (result == CUDA_SUCCESS) {
        stream->active = false;
        stream->wait_count = 0;
    }
    return result;
}

bool streams_wait(struct session *session)
{
    for (struct stream *stream = session->stream_list; stream; stream = stream->next)
        if (stream->wait_count && stream_query(session, stream) == CUDA_ERROR_NOT_READY)
            return true;
    return false;
}

static void stream_free(struct session *session, struct stream **at)
{
    struct stream *stream = *at;
    pthread_mutex_lock(&session->streams_lock);
    *at = stream->next;
    queue_give(session, stream);
    pthread_mutex_unlock(&session->streams_lock);
    session->driver->cu.cuStreamDestroy_v2(stream->driver);
    free(stream->waits);
    free(stream);
}

/* Streams that the client destroyed live on here until their work is done. */
static void sweep(struct session *session)
{
    for (struct stream **at = &session->stream_list; *at;) {
        struct stream *stream = *at;
        if (stream->handle || stream_query(session, stream) == CUDA_ERROR_NOT_READY) {
            at = &stream->next;
            continue;
        }
        session->dirty_count -= stream->dirty;
        stream_free(session, at);
    }
}

void streams_close(struct session *session)
{
    while (session->stream_list)
        stream_free(session, &session->stream_list);
    session->legacy = NULL;
}

struct wait_item *streams_mark(struct session *session)
{
    uint32_t active = 0;
    for (struct stream *stream = session->stream_list; stream; stream = stream->next)
        active += stream->active;
    struct wait_item *item = wait_item_new(NULL, active);
    for (struct stream *stream = session->stream_list; item && stream; stream = stream->next) {
        if (stream_query(session, stream) != CUDA_ERROR_NOT_READY)
            continue;
        CUevent event;
        if (event_pool_get(session, &event) != CUDA_SUCCESS)
            continue; /* the driver is beyond use: every later call says so */
        item->events[item->event_count++] = event;
        session->driver->cu.cuEventRecord(event, stream->driver);
    }
    return item;
}

void session_defer(struct session *session, wait_done *done, const uint64_t arguments[3])
{
    sweep(session);
    struct wait_item *item = streams_mark(session);
    if (!item) {
        session_end(session, "the executor is short of memory");
        return;
    }
    item->done = done;
    item->a = arguments[0];
    item->b = arguments[1];
    item->c = arguments[2];
    if (item->event_count) {
        waiter_add(&session->reaper, item);
        return;
    }
    done(session, item, CUDA_SUCCESS);
    wait_item_free(session, item);
}

static void answer(struct session *session, struct wait_item *item, CUresult result)
{
    session->waits_outstanding--;
    if (result == CUDA_ERROR_DEINITIALIZED)
        return; /* nobody listens any more */
    request_done(session, item->request);
    session_finish(session, &item->op, result);
}

void session_answer_later(struct session *session, struct wait_item *item, const struct message *message)
{
    uint32_t most = engine_config(session->engine)->blocking_calls_max;
    if (session->waits_outstanding >= most) {
        wait_item_free(session, item);
        session_tell(session, "a call was refused: `blocking_calls_max` in tallyd's config lets %u "
                     "threads of a process wait at a time", most);
        request_done(session, request_mark(session));
        session_finish(session, &message->op, CUDA_ERROR_OUT_OF_MEMORY);
        return;
    }
    session->waits_outstanding++;
    item->done = answer;
    item->op = message->op;
    item->request = request_mark(session);
    waiter_add(&session->waits, item);
}

void stream_answer_when_done(struct session *session, struct stream *stream, const struct message *message,
                             CUresult result)
{
    if (result == CUDA_SUCCESS)
        result = stream_query(session, stream);
    if (result != CUDA_ERROR_NOT_READY) {
        request_done(session, request_mark(session));
        session_finish(session, &message->op, result);
        return;
    }
    struct wait_item *item = wait_item_new(NULL, 1);
    result = item ? event_pool_get(session, &item->events[0]) : CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS) {
        item->event_count = 1;
        result = session->driver->cu.cuEventRecord(item->events[0], stream->driver);
    }
    if (result == CUDA_SUCCESS) {
        session_answer_later(session, item, message);
        return;
    }
    if (item)
        wait_item_free(session, item);
    session_finish(session, &message->op, result);
}

/* ---- ops ---- */

bool op_stream_create(struct session *session, const struct message *message)
{
    struct tally_op_stream_create op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL) ||
        !table_is_free(&session->streams, op.stream))
        return false;
    struct stream *stream = NULL;
    sweep(session);
    CUresult result = op.flags & ~(uint32_t)CU_STREAM_NON_BLOCKING ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    if (result == CUDA_SUCCESS)
        result = stream_new(session, !(op.flags & CU_STREAM_NON_BLOCKING), &stream);
    if (result == CUDA_SUCCESS && !table_set(&session->streams, op.stream, stream))
        result = CUDA_ERROR_OUT_OF_MEMORY; /* without a handle it goes with the next sweep */
    else if (result == CUDA_SUCCESS)
        stream->handle = op.stream;
    session_finish(session, &op.op, result);
    return true;
}

bool op_stream_destroy(struct session *session, const struct message *message)
{
    struct tally_op_stream op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct stream *stream = table_take(&session->streams, op.stream);
    if (stream) {
        stream->handle = 0;
        sweep(session);
    }
    session_finish(session, &op.op, stream ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE);
    return true;
}

bool op_stream_sync(struct session *session, const struct message *message)
{
    struct tally_op_stream op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct stream *stream = stream_find(session, op.stream);
    if (!stream) {
        session_finish(session, &op.op, CUDA_ERROR_INVALID_HANDLE);
        return true;
    }
    /* Waiting for the legacy stream is waiting for what it would wait for. */
    CUresult result = stream == session->legacy && session->dirty_count ? stream_enter(session, stream) : CUDA_SUCCESS;
    stream_answer_when_done(session, stream, message, result);
    return true;
}

bool op_stream_query(struct session *session, const struct message *message)
{
    struct tally_op_stream op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct stream *stream = stream_find(session, op.stream);
    CUresult result = stream ? stream_query(session, stream) : CUDA_ERROR_INVALID_HANDLE;
    for (struct stream *other = session->stream_list; stream == session->legacy && other; other = other->next)
        if (result == CUDA_SUCCESS && other->dirty)
            result = stream_query(session, other);
    session_finish(session, &op.op, result);
    return true;
}

/* Of all streams: an error first, then CUDA_ERROR_NOT_READY. */
static CUresult streams_query(struct session *session)
{
    CUresult result = CUDA_SUCCESS;
    for (struct stream *stream = session->stream_list; stream; stream = stream->next) {
        CUresult state = stream_query(session, stream);
        if (state != CUDA_SUCCESS && (result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY))
            result = state;
    }
    return result;
}

bool op_ctx_sync(struct session *session, const struct message *message)
{
    if (message->size != sizeof(struct tally_op))
        return false;
    sweep(session);
    CUresult result = streams_query(session);
    struct wait_item *item = result == CUDA_ERROR_NOT_READY ? streams_mark(session) : NULL;
    if (item && item->event_count) {
        session_answer_later(session, item, message);
        return true;
    }
    if (item)
        wait_item_free(session, item);
    if (result == CUDA_ERROR_NOT_READY) /* done meanwhile: well or not */
        result = item ? streams_query(session) : CUDA_ERROR_OUT_OF_MEMORY;
    request_done(session, request_mark(session));
    session_finish(session, &message->op, result);
    return true;
}
