/* cuStreamWriteValue and cuStreamWaitValue on the session's own memory.
 *
 * A stream that waits for a value stays until somebody writes it. When the session ends, nobody
 * will: so waits are noted, and what they wait for is written in the client's place. (softgpu drops
 * them instead.) */
#include "engine/streams/stream_value.h"

#include <stdlib.h>
#include <time.h>

#include "engine/memory/memory.h"
#include "engine/memory/ranges.h"
#include "engine/ops/message.h"
#include "engine/session/notice.h"
#include "engine/session/reply.h"
#include "engine/session/session.h"
#include "engine/streams/stream.h"
#include "wire/message.h"

#define RELEASE_AGAIN_NS 1000000l /* later work may overwrite a value before the wait saw it */

struct value_wait {
    uint64_t address, value;
    uint32_t flags;
    bool wide;
};

static CUresult note_wait(struct session *session, struct stream *stream,
                          const struct tally_op_stream_value *op)
{
    uint32_t most = session->engine->config.stream_waits_max;
    if (stream->wait_count >= most) {
        session_tell(
            session,
            "a wait was refused: `stream_waits_max` in tallyd's config lets a stream "
            "have %u waits for values in memory (cuStreamWaitValue) before it is idle again",
            most);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (stream->wait_count == stream->wait_room) {
        uint32_t room = stream->wait_room ? stream->wait_room * 2 : 8;
        struct value_wait *waits = realloc(stream->waits, room * sizeof *waits);
        if (!waits)
            return CUDA_ERROR_OUT_OF_MEMORY;
        stream->waits = waits;
        stream->wait_room = room;
    }
    stream->waits[stream->wait_count++] = (struct value_wait){
        .address = op->address,
        .value = op->value,
        .flags = op->flags,
        .wide = op->wide,
    };
    return CUDA_SUCCESS;
}

static CUresult submit(struct session *session, struct stream *stream,
                       const struct tally_op_stream_value *op)
{
    const struct tally_driver *cu = &session->driver->cu;
    if (op->wide) {
        CUresult (*call)(CUstream, CUdeviceptr, cuuint64_t, unsigned) =
            op->wait ? cu->cuStreamWaitValue64_v2 : cu->cuStreamWriteValue64_v2;
        return call ? call(stream->driver, op->address, op->value, op->flags)
                    : CUDA_ERROR_NOT_SUPPORTED;
    }
    CUresult (*call)(CUstream, CUdeviceptr, cuuint32_t, unsigned) =
        op->wait ? cu->cuStreamWaitValue32_v2 : cu->cuStreamWriteValue32_v2;
    return call ? call(stream->driver, op->address, (uint32_t)op->value, op->flags)
                : CUDA_ERROR_NOT_SUPPORTED;
}

bool op_stream_value(struct session *session, const struct message *message)
{
    struct tally_op_stream_value op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL) || op.wait > 1 ||
        op.wide > 1)
        return false;
    struct stream *stream = stream_find(session, op.stream);
    const uint64_t bytes = op.wide ? 8 : 4;
    bool known = op.address % bytes == 0 && memory_kind(session, op.address, bytes) != RANGE_NONE;
    CUresult result = !stream  ? CUDA_ERROR_INVALID_HANDLE
                      : !known ? CUDA_ERROR_INVALID_VALUE
                               : stream_enter(session, stream);
    if (result == CUDA_SUCCESS && op.wait)
        result = note_wait(session, stream, &op);
    if (result == CUDA_SUCCESS)
        result = submit(session, stream, &op);
    session_finish(session, &op.op, result);
    return true;
}

static void satisfy(const struct tally_driver *cu, const struct value_wait *wait, CUstream stream)
{
    /* NOR wants a bit that is 0 in memory and value; the others are content with the value
     * itself. */
    bool nor = (wait->flags & 3u) == CU_STREAM_WAIT_VALUE_NOR;
    uint64_t value = nor ? 0 : wait->value;
    if (wait->wide)
        cu->cuStreamWriteValue64_v2(stream, wait->address, value, 0);
    else
        cu->cuStreamWriteValue32_v2(stream, wait->address, (uint32_t)value, 0);
}

void streams_release(struct session *session)
{
    const struct tally_driver *cu = &session->driver->cu;
    CUstream writer = NULL;
    for (bool waiting = true; waiting;) {
        waiting = false;
        for (struct stream *stream = session->streams.list; stream; stream = stream->next) {
            if (!stream->wait_count || stream_query(session, stream) != CUDA_ERROR_NOT_READY)
                continue;
            waiting = true;
            if (!writer &&
                cu->cuStreamCreateWithPriority(&writer, CU_STREAM_NON_BLOCKING, session->priority))
                return; /* the driver is beyond use, and its streams with it */
            for (uint32_t i = 0; i < stream->wait_count; i++)
                satisfy(cu, &stream->waits[i], writer);
        }
        if (waiting)
            nanosleep(&(struct timespec){.tv_nsec = RELEASE_AGAIN_NS}, NULL);
    }
    if (writer)
        cu->cuStreamDestroy_v2(writer);
}
