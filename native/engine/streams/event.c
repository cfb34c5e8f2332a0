#include "engine/streams/event.h"

#include <stdlib.h>

#include "engine/ops/message.h"
#include "engine/session/fault.h"
#include "engine/session/reply.h"
#include "engine/session/request.h"
#include "engine/session/session.h"
#include "engine/session/shared_event.h"
#include "engine/session/table.h"
#include "engine/session/waiter.h"
#include "engine/streams/later.h"
#include "engine/streams/stream.h"
#include "wire/message.h"

#define EVENT_FLAGS (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)

static CUresult event_new(struct session *session, uint32_t flags, struct shared_event **out)
{
    struct shared_event *event = calloc(1, sizeof *event);
    if (!event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    /* Blocking, whatever the program asked for: it is the executor's threads that wait, and they
     * must not spin. */
    CUresult result =
        session->driver->cu.cuEventCreate(&event->driver, flags | CU_EVENT_BLOCKING_SYNC);
    if (result != CUDA_SUCCESS) {
        free(event);
        return result;
    }
    event->flags = flags;
    event->refs = 1;
    *out = event;
    return CUDA_SUCCESS;
}

void events_init(struct session *session) { session->events.kind = TALLY_KIND_EVENT; }

struct shared_event *event_find(const struct session *session, uint64_t handle)
{
    return table_get(&session->events, handle);
}

bool op_event_create(struct session *session, const struct message *message)
{
    struct tally_op_event_create op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL) ||
        !table_is_free(&session->events, op.event))
        return false;
    struct shared_event *event = NULL;
    CUresult result = op.flags & ~(uint32_t)EVENT_FLAGS ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
    if (result == CUDA_SUCCESS)
        result = event_new(session, op.flags, &event);
    if (result == CUDA_SUCCESS && !table_set(&session->events, op.event, event)) {
        shared_event_put(session, event);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    session_finish(session, &op.op, result);
    return true;
}

bool op_event_destroy(struct session *session, const struct message *message)
{
    struct tally_op_event op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct shared_event *event = table_take(&session->events, op.event);
    if (event)
        shared_event_put(session, event);
    session_finish(session, &op.op, event ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE);
    return true;
}

/* A waiter that still looks at the event must see the record it was given, not a later one. */
static CUresult own(struct session *session, uint64_t handle, struct shared_event **event)
{
    if (atomic_load(&(*event)->refs) == 1)
        return CUDA_SUCCESS;
    struct shared_event *fresh;
    CUresult result = event_new(session, (*event)->flags, &fresh);
    if (result != CUDA_SUCCESS)
        return result;
    shared_event_put(session, table_take(&session->events, handle));
    table_set(&session->events, handle, fresh); /* the slot exists: cannot fail */
    *event = fresh;
    return CUDA_SUCCESS;
}

bool op_event_record(struct session *session, const struct message *message)
{
    struct tally_op_event_record op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct shared_event *event = event_find(session, op.event);
    struct stream *stream = stream_find(session, op.stream);
    CUresult result = !event || !stream ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
    if (result == CUDA_SUCCESS && op.flags)
        result = CUDA_ERROR_INVALID_VALUE; /* external recording belongs to graphs */
    if (result == CUDA_SUCCESS)
        result = own(session, op.event, &event);
    if (result == CUDA_SUCCESS)
        result = stream_enter(session, stream);
    if (result == CUDA_SUCCESS)
        result = session->driver->cu.cuEventRecord(event->driver, stream->driver);
    session_finish(session, &op.op, result);
    return true;
}

bool op_stream_wait_event(struct session *session, const struct message *message)
{
    struct tally_op_stream_wait_event op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct shared_event *event = event_find(session, op.event);
    struct stream *stream = stream_find(session, op.stream);
    CUresult result = !event || !stream ? CUDA_ERROR_INVALID_HANDLE : stream_enter(session, stream);
    if (result == CUDA_SUCCESS)
        result = session->driver->cu.cuStreamWaitEvent(stream->driver, event->driver, 0);
    session_finish(session, &op.op, result);
    return true;
}

bool op_event_query(struct session *session, const struct message *message)
{
    struct tally_op_event op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct shared_event *event = event_find(session, op.event);
    session_finish(session, &op.op,
                   event ? session->driver->cu.cuEventQuery(event->driver)
                         : CUDA_ERROR_INVALID_HANDLE);
    return true;
}

bool op_event_sync(struct session *session, const struct message *message)
{
    struct tally_op_event op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct shared_event *event = event_find(session, op.event);
    CUresult result =
        event ? session->driver->cu.cuEventQuery(event->driver) : CUDA_ERROR_INVALID_HANDLE;
    if (result != CUDA_ERROR_NOT_READY) {
        if (event)
            request_done(session, request_mark(session));
        session_finish(session, &op.op, result);
        return true;
    }
    struct wait_item *item = wait_item_new(NULL, 0);
    if (!item) {
        session_finish(session, &op.op, CUDA_ERROR_OUT_OF_MEMORY);
        return true;
    }
    atomic_fetch_add(&event->refs, 1);
    item->event = event;
    session_answer_later(session, item, message);
    return true;
}

bool op_event_elapsed(struct session *session, const struct message *message)
{
    struct tally_op_event_elapsed op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct shared_event *start = event_find(session, op.start);
    struct shared_event *end = event_find(session, op.end);
    const struct tally_driver *cu = &session->driver->cu;
    struct tally_reply_event_elapsed reply = {0};
    CUresult result = CUDA_ERROR_INVALID_HANDLE;
    if (start && end && cu->cuEventElapsedTime_v2)
        result = cu->cuEventElapsedTime_v2(&reply.elapsed_ms, start->driver, end->driver);
    else if (start && end && cu->cuEventElapsedTime)
        result = cu->cuEventElapsedTime(&reply.elapsed_ms, start->driver, end->driver);
    session_note(session, result);
    session_reply(session, &op.op, result, &reply, sizeof reply, NULL, 0);
    return true;
}

void events_close(struct session *session)
{
    for (uint32_t i = 0; i < session->events.room; i++)
        if (session->events.items[i])
            shared_event_put(session, session->events.items[i]);
    table_clear(&session->events);
}
