/* Streams: their calls, stream-ordered values, host functions, and waiting for a context's work. */
#include <stdlib.h>

#include "queue.h"

/* Enters, takes the lock, and finds the stream. On success the caller holds the lock. */
static CUresult enter_stream(struct soft_call *call, CUstream handle, struct soft_stream **stream)
{
    CUresult result = soft_enter(call);
    if (result != CUDA_SUCCESS)
        return result;
    soft_lock();
    result = soft_stream_get(call, handle, stream);
    if (result != CUDA_SUCCESS)
        soft_unlock();
    return result;
}

SOFT_API CUresult cuStreamCreateWithPriority(CUstream *out, unsigned int flags, int priority)
{
    struct soft_call call;
    struct soft_stream *stream;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!out || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING))
        return CUDA_ERROR_INVALID_VALUE;
    soft_lock();
    result = soft_stream_new(&call, flags, priority, true, &stream);
    if (result == CUDA_SUCCESS)
        *out = (CUstream)stream->object.handle;
    soft_unlock();
    return result;
}

SOFT_API CUresult cuStreamCreate(CUstream *out, unsigned int flags)
{
    return cuStreamCreateWithPriority(out, flags, SOFT_PRIORITY_LEAST);
}

SOFT_API CUresult cuStreamDestroy_v2(CUstream handle)
{
    struct soft_call call;
    CUresult result = soft_enter(&call);
    if (result == CUDA_ERROR_NOT_INITIALIZED || !call.tenant)
        return result;
    soft_lock();
    struct soft_stream *stream = soft_handle_get(handle, SOFT_STREAM, call.tenant->id);
    if (stream) {
        soft_handle_remove(&stream->object);
        soft_stream_put(stream); /* its queued work still runs */
    } else if (result == CUDA_SUCCESS) {
        result = CUDA_ERROR_INVALID_HANDLE;
    }
    soft_unlock();
    return result;
}

SOFT_API CUresult cuStreamQuery(CUstream handle)
{
    struct soft_call call;
    struct soft_stream *stream;
    CUresult result = enter_stream(&call, handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    /* The error anew: it may have come since the call began, and have emptied the stream. */
    result = stream->head ? CUDA_ERROR_NOT_READY : (CUresult)atomic_load(&call.tenant->error);
    soft_unlock();
    return result;
}

SOFT_API CUresult cuStreamSynchronize(CUstream handle)
{
    struct soft_call call;
    struct soft_stream *stream;
    CUresult result = enter_stream(&call, handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    soft_stream_wait(stream, stream->submitted, soft_patient(call.context));
    soft_unlock();
    return (CUresult)atomic_load(&call.tenant->error);
}

/* ---- contexts' work ------------------------------------------------------------------------- */

SOFT_API CUresult cuCtxSynchronize(void)
{
    struct soft_call call;
    CUresult result = soft_enter(&call);
    return result == CUDA_SUCCESS ? soft_tenant_wait(call.tenant, call.device) : result;
}

SOFT_API CUresult cuCtxSynchronize_v2(CUcontext handle)
{
    struct soft_call call;
    if (!handle)
        return cuCtxSynchronize();
    CUresult result = soft_enter_tenant(&call);
    if (result != CUDA_SUCCESS)
        return result;
    soft_lock();
    struct soft_context *context = soft_handle_get(handle, SOFT_CONTEXT, 0);
    soft_unlock();
    return context ? soft_tenant_wait(call.tenant, context->device) : CUDA_ERROR_INVALID_CONTEXT;
}

/* ---- properties ----------------------------------------------------------------------------- */

#define STREAM_GETTER(name, type, expression)                                                      \
    SOFT_API CUresult name(CUstream handle, type *value)                                           \
    {                                                                                              \
        struct soft_call call;                                                                     \
        struct soft_stream *stream;                                                                \
        CUresult result = enter_stream(&call, handle, &stream);                                    \
        if (result != CUDA_SUCCESS)                                                                \
            return result;                                                                         \
        if (value)                                                                                 \
            *value = (expression);                                                                 \
        soft_unlock();                                                                             \
        return value ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;                                    \
    }

STREAM_GETTER(cuStreamGetPriority, int, stream->priority)
STREAM_GETTER(cuStreamGetFlags, unsigned int, stream->flags)
STREAM_GETTER(cuStreamGetId, unsigned long long, stream->id)
STREAM_GETTER(cuStreamGetDevice, CUdevice, (CUdevice)stream->device->index)
STREAM_GETTER(cuStreamGetCtx, CUcontext, (CUcontext)stream->context->object.handle)
STREAM_GETTER(cuStreamIsCapturing, CUstreamCaptureStatus, CU_STREAM_CAPTURE_STATUS_NONE)

SOFT_API CUresult cuStreamGetCtx_v2(CUstream handle, CUcontext *context, CUgreenCtx *green)
{
    if (green)
        *green = NULL;
    return cuStreamGetCtx(handle, context);
}

SOFT_API CUresult cuStreamGetAttribute(CUstream handle, CUstreamAttrID attribute,
                                       CUstreamAttrValue *value)
{
    struct soft_call call;
    struct soft_stream *stream;
    CUresult result = enter_stream(&call, handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (value && attribute == CU_LAUNCH_ATTRIBUTE_PRIORITY)
        value->priority = stream->priority;
    else if (value && attribute == CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY)
        value->syncPolicy = CU_SYNC_POLICY_AUTO;
    else if (value && attribute == CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW)
        value->accessPolicyWindow = (CUaccessPolicyWindow){0};
    else
        result = CUDA_ERROR_INVALID_VALUE;
    soft_unlock();
    return result;
}

SOFT_API CUresult cuStreamSetAttribute(CUstream handle, CUstreamAttrID attribute,
                                       const CUstreamAttrValue *value)
{
    struct soft_call call;
    struct soft_stream *stream;
    CUresult result = enter_stream(&call, handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (value && attribute == CU_LAUNCH_ATTRIBUTE_PRIORITY &&
        value->priority <= SOFT_PRIORITY_LEAST && value->priority >= SOFT_PRIORITY_GREATEST)
        stream->priority = value->priority;
    else if (!value || (attribute != CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY &&
                        attribute != CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW))
        result = CUDA_ERROR_INVALID_VALUE; /* those two are hints: there is no L2 to set aside */
    soft_unlock();
    return result;
}

SOFT_API CUresult cuStreamCopyAttributes(CUstream to, CUstream from)
{
    struct soft_call call;
    struct soft_stream *target, *source;
    CUresult result = enter_stream(&call, to, &target);
    if (result != CUDA_SUCCESS)
        return result;
    result = soft_stream_get(&call, from, &source);
    if (result == CUDA_SUCCESS)
        target->priority = source->priority;
    soft_unlock();
    return result;
}

/* ---- host functions ------------------------------------------------------------------------- */

static CUresult submit_host(CUstream handle, CUhostFn call_host, CUstreamCallback callback,
                            void *user)
{
    struct soft_call call;
    struct soft_stream *stream;
    if (!call_host && !callback)
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_op *op = soft_op_new(SOFT_OP_HOST, 0);
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    op->host.call = call_host;
    op->host.callback = callback;
    op->host.user = user;
    CUresult result = enter_stream(&call, handle, &stream);
    if (result != CUDA_SUCCESS) {
        free(op);
        return result;
    }
    result = soft_host_start();
    if (result == CUDA_SUCCESS)
        result = soft_submit(stream, op);
    else
        soft_op_free(op);
    soft_unlock();
    return result;
}

SOFT_API CUresult cuLaunchHostFunc(CUstream stream, CUhostFn call, void *user)
{
    return submit_host(stream, call, NULL, user);
}

SOFT_API CUresult cuStreamAddCallback(CUstream stream, CUstreamCallback callback, void *user,
                                      unsigned int flags)
{
    return flags ? CUDA_ERROR_INVALID_VALUE : submit_host(stream, NULL, callback, user);
}
