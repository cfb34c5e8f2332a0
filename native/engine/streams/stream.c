/* Streams, and CUDA's legacy default-stream ordering among them.
 *
 * Every driver stream is non-blocking, so that sessions never wait for one another. What CUDA
 * promises inside one program is rebuilt with events, and costs nothing while only one stream is in
 * use:
 *   - work in the legacy stream waits for all prior work of the session's blocking streams (dirty
 *     ones);
 *   - later work of a blocking stream waits for the legacy work before it (legacy_seen <
 * legacy_count). */
#include "engine/streams/stream.h"

#include <stdlib.h>

#include "engine/launch/settings.h"
#include "engine/parts.h"
#include "engine/session/event_pool.h"
#include "engine/session/session.h"
#include "engine/session/table.h"
#include "engine/streams/queues.h"

/* What the policy wants the device to know of the session's class. */
static int priority_of(struct session *session)
{
    int least, greatest;
    engine_stream_priorities(session->engine, &least, &greatest);
    return session->config.high && schedule_uses_levels(session->engine->schedule) ? greatest
                                                                                   : least;
}

CUresult stream_new(struct session *session, bool blocking, struct stream **out)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return CUDA_ERROR_OUT_OF_MEMORY;
    stream->priority = priority_of(session);
    CUresult result = session->driver->cu.cuStreamCreateWithPriority(
        &stream->driver, CU_STREAM_NON_BLOCKING, stream->priority);
    if (result != CUDA_SUCCESS) {
        free(stream);
        return result;
    }
    stream->blocking = blocking;
    stream->legacy_seen = 0;
    stream->queue = QUEUE_NONE;
    pthread_mutex_lock(&session->streams.lock);
    stream->next = session->streams.list;
    session->streams.list = stream;
    pthread_mutex_unlock(&session->streams.lock);
    *out = stream;
    return CUDA_SUCCESS;
}

struct stream *stream_find(struct session *session, uint64_t handle)
{
    if (handle != TALLY_STREAM_LEGACY)
        return table_get(&session->streams.handles, handle);
    if (!session->streams.legacy &&
        stream_new(session, false, &session->streams.legacy) == CUDA_SUCCESS)
        session->streams.legacy->handle = TALLY_STREAM_LEGACY;
    return session->streams.legacy;
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

/* A driver's stream has its priority for life, a policy may be switched: then the stream goes on in
 * another one of the driver's, behind what it has so far. If the driver has none to give, all stays
 * as it is. */
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
    struct stream *legacy = session->streams.legacy;
    for (struct stream *stream = session->streams.list; stream && session->streams.dirty_count;
         stream = stream->next) {
        if (!stream->dirty)
            continue;
        CUresult result = stream_query(session, stream);
        if (result == CUDA_ERROR_NOT_READY)
            result = join(session, stream, legacy);
        if (result != CUDA_SUCCESS)
            return result;
        stream->dirty = false;
        session->streams.dirty_count--;
    }
    session->streams.legacy_count++;
    return CUDA_SUCCESS;
}

static CUresult enter_blocking(struct session *session, struct stream *stream)
{
    if (stream->legacy_seen < session->streams.legacy_count) {
        CUresult result = stream_query(session, session->streams.legacy);
        if (result == CUDA_ERROR_NOT_READY)
            result = join(session, session->streams.legacy, stream);
        if (result != CUDA_SUCCESS)
            return result;
        stream->legacy_seen = session->streams.legacy_count;
    }
    if (!stream->dirty) {
        stream->dirty = true;
        session->streams.dirty_count++;
    }
    return CUDA_SUCCESS;
}

CUresult stream_enter(struct session *session, struct stream *stream)
{
    CUresult result = follow_priority(session, stream);
    if (result == CUDA_SUCCESS && stream == session->streams.legacy)
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
    for (struct stream *stream = session->streams.list; stream; stream = stream->next)
        if (stream->wait_count && stream_query(session, stream) == CUDA_ERROR_NOT_READY)
            return true;
    return false;
}

static void stream_free(struct session *session, struct stream **at)
{
    struct stream *stream = *at;
    pthread_mutex_lock(&session->streams.lock);
    *at = stream->next;
    queue_give(session, stream);
    pthread_mutex_unlock(&session->streams.lock);
    session->driver->cu.cuStreamDestroy_v2(stream->driver);
    free(stream->waits);
    free(stream);
}

/* Streams that the client destroyed live on here until their work is done. */
void streams_sweep(struct session *session)
{
    for (struct stream **at = &session->streams.list; *at;) {
        struct stream *stream = *at;
        if (stream->handle || stream_query(session, stream) == CUDA_ERROR_NOT_READY) {
            at = &stream->next;
            continue;
        }
        session->streams.dirty_count -= stream->dirty;
        stream_free(session, at);
    }
}

void streams_init(struct session *session)
{
    session->streams.handles.kind = TALLY_KIND_STREAM;
    pthread_mutex_init(&session->streams.lock, NULL);
}

void streams_drain(struct session *session)
{
    for (struct stream *stream = session->streams.list; stream; stream = stream->next)
        session->driver->cu.cuStreamSynchronize(stream->driver);
}

void streams_close(struct session *session)
{
    while (session->streams.list)
        stream_free(session, &session->streams.list);
    session->streams.legacy = NULL;
    table_clear(&session->streams.handles);
    pthread_mutex_destroy(&session->streams.lock);
}
