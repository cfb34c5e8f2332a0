/* What is known of a stream without asking the executor. Capture is not supported, so no stream
 * captures. */
#include "generated/custom.h"
#include "streams.h"

CUresult shim_cuStreamGetPriority(bool per_thread, CUstream hStream, int *priority)
{
    struct shim_stream_ref ref;
    CUresult result =
        priority ? shim_stream_resolve(per_thread, hStream, &ref) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *priority = ref.stream ? ref.stream->priority : 0;
    return result;
}

CUresult shim_cuStreamGetFlags(bool per_thread, CUstream hStream, unsigned int *flags)
{
    struct shim_stream_ref ref;
    CUresult result =
        flags ? shim_stream_resolve(per_thread, hStream, &ref) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *flags = ref.stream ? ref.stream->flags : CU_STREAM_DEFAULT;
    return result;
}

CUresult shim_cuStreamGetId(bool per_thread, CUstream hStream, unsigned long long *streamId)
{
    struct shim_stream_ref ref;
    CUresult result =
        streamId ? shim_stream_resolve(per_thread, hStream, &ref) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *streamId = shim_stream_id(&ref);
    return result;
}

CUresult shim_cuStreamGetCtx(bool per_thread, CUstream hStream, CUcontext *pctx)
{
    struct shim_stream_ref ref;
    CUresult result =
        pctx ? shim_stream_resolve(per_thread, hStream, &ref) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *pctx = shim_context_handle(ref.context);
    return result;
}

/* No green contexts: the stream's context is an ordinary one. */
CUresult shim_cuStreamGetCtx_v2(bool per_thread, CUstream hStream, CUcontext *pCtx,
                                CUgreenCtx *pGreenCtx)
{
    CUresult result = shim_cuStreamGetCtx(per_thread, hStream, pCtx);
    if (!result && pGreenCtx)
        *pGreenCtx = NULL;
    return result;
}

CUresult shim_cuStreamGetGreenCtx(CUstream hStream, CUgreenCtx *phCtx)
{
    struct shim_stream_ref ref;
    CUresult result = phCtx ? shim_stream_resolve(false, hStream, &ref) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *phCtx = NULL;
    return result;
}

CUresult shim_cuStreamGetDevice(bool per_thread, CUstream hStream, CUdevice *device)
{
    struct shim_stream_ref ref;
    CUresult result =
        device ? shim_stream_resolve(per_thread, hStream, &ref) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *device = shim_channel_device(ref.channel);
    return result;
}

CUresult shim_cuStreamIsCapturing(bool per_thread, CUstream hStream,
                                  CUstreamCaptureStatus *captureStatus)
{
    struct shim_stream_ref ref;
    CUresult result =
        captureStatus ? shim_stream_resolve(per_thread, hStream, &ref) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *captureStatus = CU_STREAM_CAPTURE_STATUS_NONE;
    return result;
}

CUresult shim_cuStreamGetCaptureInfo(bool per_thread, CUstream hStream,
                                     CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out)
{
    CUresult result = shim_cuStreamIsCapturing(per_thread, hStream, captureStatus_out);
    if (!result && id_out)
        *id_out = 0;
    return result;
}

CUresult shim_cuStreamGetCaptureInfo_v2(bool per_thread, CUstream hStream,
                                        CUstreamCaptureStatus *captureStatus_out,
                                        cuuint64_t *id_out, CUgraph *graph_out,
                                        const CUgraphNode **dependencies_out,
                                        size_t *numDependencies_out)
{
    CUresult result = shim_cuStreamGetCaptureInfo(per_thread, hStream, captureStatus_out, id_out);
    if (result)
        return result;
    if (graph_out)
        *graph_out = NULL;
    if (dependencies_out)
        *dependencies_out = NULL;
    if (numDependencies_out)
        *numDependencies_out = 0;
    return result;
}

CUresult shim_cuStreamGetCaptureInfo_v3(bool per_thread, CUstream hStream,
                                        CUstreamCaptureStatus *captureStatus_out,
                                        cuuint64_t *id_out, CUgraph *graph_out,
                                        const CUgraphNode **dependencies_out,
                                        const CUgraphEdgeData **edgeData_out,
                                        size_t *numDependencies_out)
{
    CUresult result =
        shim_cuStreamGetCaptureInfo_v2(per_thread, hStream, captureStatus_out, id_out, graph_out,
                                       dependencies_out, numDependencies_out);
    if (!result && edgeData_out)
        *edgeData_out = NULL;
    return result;
}

CUresult shim_cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    static _Thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
    if (!mode || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    CUstreamCaptureMode before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return shim_ready();
}
