/* How the end of a start is learnt from a driver that does not report it: an event behind it, and a thread
 * of the session that waits for that event. Items are served in the order in which they were added. */
#include "engine/schedule.h"

static void done(struct session *session, struct wait_item *item, CUresult result)
{
    if (result == CUDA_ERROR_DEINITIALIZED)
        return; /* the session ends, and takes its launches out of the books itself */
    if (item->b == LAUNCH_GUARDED && result == CUDA_SUCCESS)
        control_fetch(session);
    struct softgpu_launch_times times = {
        .tag = item->a,
        .start_ns = item->c,
        .end_ns = engine_now_ns(),
        .error = (int32_t)result,
    };
    schedule_report(engine_schedule(session->engine), &times);
}

CUresult completion_add(struct session *session, struct stream *stream, enum launch_form form, uint64_t tag)
{
    struct wait_item *item = wait_item_new(done, 1);
    if (!item)
        return CUDA_ERROR_OUT_OF_MEMORY;
    item->a = tag;
    item->b = form;
    item->c = engine_now_ns();
    CUresult result = event_pool_get(session, &item->events[0]);
    if (result == CUDA_SUCCESS) {
        item->event_count = 1;
        result = session->driver->cu.cuEventRecord(item->events[0], stream->driver);
    }
    if (result == CUDA_SUCCESS)
        waiter_add(&session->completions, item);
    else
        wait_item_free(session, item);
    return result;
}
