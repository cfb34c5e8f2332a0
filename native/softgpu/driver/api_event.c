/* Events: a place in a stream, and when it was reached. */
#include <stdlib.h>

#include "queue.h"

#define EVENT_FLAGS (CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING)

static CUresult enter_event(struct soft_call *call, CUevent handle, struct soft_event **event)
{
    CUresult result = soft_enter(call);
    if (result != CUDA_SUCCESS)
        return result;
    soft_lock();
    *event = soft_handle_get(handle, SOFT_EVENT, call->tenant->id);
    if (*event)
        return CUDA_SUCCESS;
    soft_unlock();
    return CUDA_ERROR_INVALID_HANDLE;
}

static bool reached(const struct soft_event *event)
{
    return !event->stream ||
           atomic_load_explicit(&event->stream->completed, memory_order_acquire) >= event->sequence;
}

SOFT_API CUresult cuEventCreate(CUevent *out, unsigned int flags)
{
    struct soft_call call;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (flags & CU_EVENT_INTERPROCESS)
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!out || (flags & ~(unsigned)EVENT_FLAGS))
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_event *event = calloc(1, sizeof *event);
    if (!event)
        return CUDA_ERROR_OUT_OF_MEMORY;
    event->flags = flags;
    event->refs = 1;
    event->context = call.context;
    soft_lock();
    uint64_t handle = soft_handle_add(&event->object, SOFT_EVENT, call.tenant->id);
    soft_unlock();
    if (!handle) {
        free(event);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *out = (CUevent)handle;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuEventDestroy_v2(CUevent handle)
{
    struct soft_call call;
    CUresult result = soft_enter(&call);
    if (result == CUDA_ERROR_NOT_INITIALIZED || !call.tenant)
        return result;
    soft_lock();
    struct soft_event *event = soft_handle_get(handle, SOFT_EVENT, call.tenant->id);
    if (event) {
        soft_handle_remove(&event->object);
        soft_event_put(event);
    } else if (result == CUDA_SUCCESS) {
        result = CUDA_ERROR_INVALID_HANDLE;
    }
    soft_unlock();
    return result;
}

SOFT_API CUresult cuEventRecordWithFlags(CUevent handle, CUstream stream_handle, unsigned int flags)
{
    struct soft_call call;
    struct soft_event *event;
    struct soft_stream *stream;
    if (flags & ~(unsigned)CU_EVENT_RECORD_EXTERNAL)
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_op *op = soft_op_new(SOFT_OP_RECORD, 0);
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = enter_event(&call, handle, &event);
    if (result != CUDA_SUCCESS) {
        free(op);
        return result;
    }
    result = soft_stream_get(&call, stream_handle, &stream);
    if (result != CUDA_SUCCESS) {
        free(op);
        soft_unlock();
        return result;
    }
    event->refs++;
    op->record.event = event;
    result = soft_submit_record(stream, op);
    soft_unlock();
    return result;
}

SOFT_API CUresult cuEventRecord(CUevent event, CUstream stream)
{
    return cuEventRecordWithFlags(event, stream, 0);
}

SOFT_API CUresult cuEventQuery(CUevent handle)
{
    struct soft_call call;
    struct soft_event *event;
    CUresult result = enter_event(&call, handle, &event);
    if (result != CUDA_SUCCESS)
        return result;
    result = reached(event) ? (CUresult)atomic_load(&call.tenant->error) : CUDA_ERROR_NOT_READY;
    soft_unlock();
    return result;
}

SOFT_API CUresult cuEventSynchronize(CUevent handle)
{
    struct soft_call call;
    struct soft_event *event;
    CUresult result = enter_event(&call, handle, &event);
    if (result != CUDA_SUCCESS)
        return result;
    if (event->stream)
        soft_stream_wait(event->stream, event->sequence, event->flags & CU_EVENT_BLOCKING_SYNC);
    soft_unlock();
    return (CUresult)atomic_load(&call.tenant->error);
}

SOFT_API CUresult cuStreamWaitEvent(CUstream stream_handle, CUevent handle, unsigned int flags)
{
    struct soft_call call;
    struct soft_event *event;
    struct soft_stream *stream;
    if (flags & ~(unsigned)CU_EVENT_WAIT_EXTERNAL)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_event(&call, handle, &event);
    if (result != CUDA_SUCCESS)
        return result;
    result = soft_stream_get(&call, stream_handle, &stream);
    if (result == CUDA_SUCCESS && !reached(event) && event->stream != stream)
        result = soft_submit_join(stream, event->stream, event->sequence);
    soft_unlock();
    return result;
}

static CUresult elapsed(float *milliseconds, CUevent start_handle, CUevent end_handle)
{
    struct soft_call call;
    struct soft_event *start;
    CUresult result = enter_event(&call, start_handle, &start);
    if (result != CUDA_SUCCESS)
        return result;
    struct soft_event *end = soft_handle_get(end_handle, SOFT_EVENT, call.tenant->id);
    if (!end || !start->stream || !end->stream ||
        ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING))
        result = CUDA_ERROR_INVALID_HANDLE;
    else if (!milliseconds)
        result = CUDA_ERROR_INVALID_VALUE;
    else if (!reached(start) || !reached(end))
        result = CUDA_ERROR_NOT_READY;
    else
        *milliseconds = (float)((double)(int64_t)(end->reached_ns - start->reached_ns) / 1e6);
    soft_unlock();
    return result;
}

SOFT_API CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)
{
    return elapsed(milliseconds, start, end);
}

SOFT_API CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end)
{
    return elapsed(milliseconds, start, end);
}
