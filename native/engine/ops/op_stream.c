#include "engine/ops/message.h"
#include "engine/session/reply.h"
#include "engine/session/request.h"
#include "engine/session/session.h"
#include "engine/session/table.h"
#include "engine/session/waiter.h"
#include "engine/streams/later.h"
#include "engine/streams/stream.h"
#include "wire/message.h"

bool op_stream_create(struct session *session, const struct message *message)
{
    struct tally_op_stream_create op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL) ||
        !table_is_free(&session->streams.handles, op.stream))
        return false;
    struct stream *stream = NULL;
    streams_sweep(session);
    CUresult result =
        op.flags & ~(uint32_t)CU_STREAM_NON_BLOCKING ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    if (result == CUDA_SUCCESS)
        result = stream_new(session, !(op.flags & CU_STREAM_NON_BLOCKING), &stream);
    if (result == CUDA_SUCCESS && !table_set(&session->streams.handles, op.stream, stream))
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
    struct stream *stream = table_take(&session->streams.handles, op.stream);
    if (stream) {
        stream->handle = 0;
        streams_sweep(session);
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
    CUresult result = stream == session->streams.legacy && session->streams.dirty_count
                          ? stream_enter(session, stream)
                          : CUDA_SUCCESS;
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
    for (struct stream *other = session->streams.list; stream == session->streams.legacy && other;
         other = other->next)
        if (result == CUDA_SUCCESS && other->dirty)
            result = stream_query(session, other);
    session_finish(session, &op.op, result);
    return true;
}

/* Of all streams: an error first, then CUDA_ERROR_NOT_READY. */
static CUresult streams_query(struct session *session)
{
    CUresult result = CUDA_SUCCESS;
    for (struct stream *stream = session->streams.list; stream; stream = stream->next) {
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
    streams_sweep(session);
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
