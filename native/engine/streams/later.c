#include "engine/streams/later.h"

#include "engine/ops/message.h"
#include "engine/session/ending.h"
#include "engine/session/event_pool.h"
#include "engine/session/notice.h"
#include "engine/session/reply.h"
#include "engine/session/request.h"
#include "engine/session/session.h"
#include "engine/session/waiter.h"
#include "engine/streams/stream.h"

struct wait_item *streams_mark(struct session *session)
{
    uint32_t active = 0;
    for (struct stream *stream = session->streams.list; stream; stream = stream->next)
        active += stream->active;
    struct wait_item *item = wait_item_new(NULL, active);
    for (struct stream *stream = session->streams.list; item && stream; stream = stream->next) {
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
    streams_sweep(session);
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

void session_answer_later(struct session *session, struct wait_item *item,
                          const struct message *message)
{
    uint32_t most = session->engine->config.blocking_calls_max;
    if (session->waits_outstanding >= most) {
        wait_item_free(session, item);
        session_tell(session,
                     "a call was refused: `blocking_calls_max` in tallyd's config lets %u "
                     "threads of a process wait at a time",
                     most);
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

void stream_answer_when_done(struct session *session, struct stream *stream,
                             const struct message *message, CUresult result)
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
