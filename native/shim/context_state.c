/* What a context remembers. Limits and cache preferences are kept per context as CUDA does; they
 * are hints to a device that others share, so they stay here. */
#include "context.h"
#include "generated/custom.h"

CUresult shim_cuCtxGetDevice(CUdevice *device)
{
    uint32_t index;
    CUresult status = shim_current_device(&index);
    if (status != CUDA_SUCCESS)
        return status;
    if (device == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *device = (CUdevice)index;
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxGetDevice_v2(CUdevice *device, CUcontext ctx)
{
    struct shim_context *context;
    CUresult status = shim_context_of(ctx, &context);
    if (status != CUDA_SUCCESS)
        return status;
    if (device == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *device = (CUdevice)context->device;
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxGetId(CUcontext ctx, unsigned long long *ctxId)
{
    struct shim_context *context;
    CUresult status = shim_context_of(ctx, &context);
    if (status != CUDA_SUCCESS)
        return status;
    if (ctxId == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *ctxId = atomic_load(&context->id);
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxGetApiVersion(CUcontext ctx, unsigned int *version)
{
    struct shim_context *context;
    CUresult status = shim_context_of(ctx, &context);
    if (status != CUDA_SUCCESS)
        return status;
    if (version == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *version = context->api_version;
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxGetFlags(unsigned int *flags)
{
    struct shim_context *context;
    CUresult status = shim_current(&context, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    if (flags == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = context->flags;
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxGetLimit(size_t *pvalue, CUlimit limit)
{
    struct shim_context *context;
    CUresult status = shim_current(&context, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    if (pvalue == NULL || limit >= CU_LIMIT_MAX || limit >= SHIM_LIMITS)
        return CUDA_ERROR_INVALID_VALUE;
    *pvalue = context->limits[limit];
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxSetLimit(CUlimit limit, size_t value)
{
    struct shim_context *context;
    CUresult status = shim_current(&context, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    if (limit >= CU_LIMIT_MAX || limit >= SHIM_LIMITS)
        return CUDA_ERROR_INVALID_VALUE;
    if (limit == CU_LIMIT_SHMEM_SIZE ||
        limit == CU_LIMIT_CIG_ENABLED) /* for graphics interoperation */
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    context->limits[limit] = value;
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxGetCacheConfig(CUfunc_cache *pconfig)
{
    struct shim_context *context;
    CUresult status = shim_current(&context, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    if (pconfig == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *pconfig = context->cache_config;
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxSetCacheConfig(CUfunc_cache config)
{
    struct shim_context *context;
    CUresult status = shim_current(&context, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    if (config > CU_FUNC_CACHE_PREFER_EQUAL)
        return CUDA_ERROR_INVALID_VALUE;
    context->cache_config = config;
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxGetSharedMemConfig(CUsharedconfig *pConfig)
{
    struct shim_context *context;
    CUresult status = shim_current(&context, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    if (pConfig == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    /* Configurable banks ended with Kepler: every device since reports four bytes. */
    *pConfig = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxSetSharedMemConfig(CUsharedconfig config)
{
    CUresult status = shim_current(NULL, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    return config <= CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE ? CUDA_SUCCESS
                                                               : CUDA_ERROR_INVALID_VALUE;
}

CUresult shim_cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority)
{
    struct shim_context *context;
    CUresult status = shim_current(&context, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    const struct tally_device_info *info = shim_device((int)context->device);
    if (leastPriority != NULL)
        *leastPriority = info->stream_priority_least;
    if (greatestPriority != NULL)
        *greatestPriority = info->stream_priority_greatest;
    return CUDA_SUCCESS;
}

/* Persisting lines belong to everybody on the device; none are reserved, so there is nothing to
 * reset. */
CUresult shim_cuCtxResetPersistingL2Cache(void) { return shim_current(NULL, NULL); }

CUresult shim_cuCtxGetExecAffinity(CUexecAffinityParam *pExecAffinity, CUexecAffinityType type)
{
    CUresult status = shim_current(NULL, NULL);
    return status != CUDA_SUCCESS ? status : CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
}

CUresult shim_cuCtxEnablePeerAccess(CUcontext peerContext, unsigned int Flags)
{
    struct shim_context *peer;
    CUresult status = shim_current(NULL, NULL);
    if (status == CUDA_SUCCESS)
        status =
            peerContext != NULL ? shim_context_of(peerContext, &peer) : CUDA_ERROR_INVALID_CONTEXT;
    if (status != CUDA_SUCCESS)
        return status;
    return Flags == 0 ? CUDA_ERROR_PEER_ACCESS_UNSUPPORTED : CUDA_ERROR_INVALID_VALUE;
}

CUresult shim_cuCtxDisablePeerAccess(CUcontext peerContext)
{
    struct shim_context *peer;
    CUresult status = shim_current(NULL, NULL);
    if (status == CUDA_SUCCESS)
        status =
            peerContext != NULL ? shim_context_of(peerContext, &peer) : CUDA_ERROR_INVALID_CONTEXT;
    return status != CUDA_SUCCESS ? status : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}
