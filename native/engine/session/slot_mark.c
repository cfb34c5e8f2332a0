/* Slots come back to the client once the stream has got there. */
#include "engine/session/slot_mark.h"

#include "engine/memory/guard.h"
#include "engine/session/ending.h"
#include "engine/session/event_pool.h"
#include "engine/session/fault.h"
#include "engine/session/session.h"
#include "engine/session/waiter.h"
#include "engine/streams/stream.h"

static void mark_later(struct session *session, struct wait_item *item, CUresult result)
{
    if (result == CUDA_SUCCESS)
        shared_store(session, &session->segment.page->done[item->a], (uint32_t)item->b);
    else
        session_note(session, result);
}

void slot_mark(struct session *session, struct stream *stream, uint32_t slot, uint32_t sequence)
{
    struct segment *segment = &session->segment;
    uint32_t *done = &segment->page->done[slot];
    if (!stream || stream_query(session, stream) == CUDA_SUCCESS) {
        shared_store(session, done, sequence);
        return;
    }
    if (segment->stream_writes) {
        CUresult result = session->driver->cu.cuStreamWriteValue32_v2(
            stream->driver, (CUdeviceptr)done, sequence, 0);
        if (result == CUDA_SUCCESS)
            return;
        segment->stream_writes = false;
    }
    struct wait_item *item = wait_item_new(mark_later, 1);
    if (!item) {
        session_end(session, "the executor is short of memory");
        return;
    }
    CUresult result = event_pool_get(session, &item->events[0]);
    if (result != CUDA_SUCCESS) { /* the session has failed: nothing of it will run */
        wait_item_free(session, item);
        session_note(session, result);
        shared_store(session, done, sequence);
        return;
    }
    item->event_count = 1;
    session->driver->cu.cuEventRecord(item->events[0], stream->driver);
    item->a = slot;
    item->b = sequence;
    waiter_add(&session->waits, item);
}
