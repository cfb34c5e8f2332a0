/* What a context says of itself: device, flags, limits, configuration. */
#include "heap.h"

SOFT_API CUresult cuCtxGetDevice(CUdevice *device) { return cuCtxGetDevice_v2(device, NULL); }

SOFT_API CUresult cuCtxGetDevice_v2(CUdevice *device, CUcontext handle)
{
    struct soft_context *context;
    CUresult result = soft_context_get(handle, &context);
    if (result == CUDA_SUCCESS && !device)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *device = (CUdevice)context->device->index;
    return result;
}

SOFT_API CUresult cuCtxGetFlags(unsigned int *flags)
{
    struct soft_context *context;
    CUresult result = soft_context_get(NULL, &context);
    if (result == CUDA_SUCCESS && !flags)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *flags = __atomic_load_n(&context->flags, __ATOMIC_RELAXED);
    return result;
}

SOFT_API CUresult cuCtxSetFlags(unsigned int flags)
{
    struct soft_context *context;
    CUresult result = soft_context_get(NULL, &context);
    if (result == CUDA_SUCCESS)
        __atomic_store_n(&context->flags, flags, __ATOMIC_RELAXED);
    return result;
}

SOFT_API CUresult cuCtxGetId(CUcontext handle, unsigned long long *id)
{
    struct soft_context *context;
    CUresult result = soft_context_get(handle, &context);
    if (result == CUDA_SUCCESS && !id)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *id = context->id;
    return result;
}

SOFT_API CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int *version)
{
    struct soft_context *context;
    CUresult result = soft_context_get(handle, &context);
    if (result == CUDA_SUCCESS && !version)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *version = 3020; /* what drivers answer for contexts of cuCtxCreate_v2 and later */
    return result;
}

SOFT_API CUresult cuCtxSetLimit(CUlimit limit, size_t value)
{
    struct soft_context *context;
    CUresult result = soft_context_get(NULL, &context);
    if (result != CUDA_SUCCESS)
        return result;
    if ((int)limit < 0 || limit >= CU_LIMIT_MAX)
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    if (limit == CU_LIMIT_MALLOC_HEAP_SIZE && soft_heap_used(soft_tenant_current()))
        return CUDA_ERROR_INVALID_VALUE; /* to be set before the first kernel that uses it */
    soft_lock();
    context->limits[limit] = value;
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuCtxGetLimit(size_t *value, CUlimit limit)
{
    struct soft_context *context;
    CUresult result = soft_context_get(NULL, &context);
    if (result != CUDA_SUCCESS)
        return result;
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    if ((int)limit < 0 || limit >= CU_LIMIT_MAX)
        return CUDA_ERROR_UNSUPPORTED_LIMIT;
    soft_lock();
    *value = context->limits[limit];
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuCtxGetCacheConfig(CUfunc_cache *config)
{
    struct soft_context *context;
    CUresult result = soft_context_get(NULL, &context);
    if (result == CUDA_SUCCESS && !config)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *config = __atomic_load_n(&context->cache_config, __ATOMIC_RELAXED);
    return result;
}

SOFT_API CUresult cuCtxSetCacheConfig(CUfunc_cache config)
{
    struct soft_context *context;
    CUresult result = soft_context_get(NULL, &context);
    if (result == CUDA_SUCCESS)
        __atomic_store_n(&context->cache_config, config, __ATOMIC_RELAXED);
    return result;
}

SOFT_API CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    struct soft_context *context;
    CUresult result = soft_context_get(NULL, &context);
    if (result != CUDA_SUCCESS)
        return result;
    if (least)
        *least = SOFT_PRIORITY_LEAST;
    if (greatest)
        *greatest = SOFT_PRIORITY_GREATEST;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuCtxResetPersistingL2Cache(void)
{
    struct soft_context *context;
    return soft_context_get(NULL, &context);
}

/* Shared memory has no banks to configure. */
SOFT_API CUresult cuCtxGetSharedMemConfig(CUsharedconfig *config)
{
    struct soft_context *context;
    CUresult result = soft_context_get(NULL, &context);
    if (result == CUDA_SUCCESS && !config)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *config = CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE;
    return result;
}

SOFT_API CUresult cuCtxSetSharedMemConfig(CUsharedconfig config)
{
    struct soft_context *context;
    return soft_context_get(NULL, &context);
}

SOFT_API CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags)
{
    struct soft_context *context;
    CUresult result = soft_context_get(peer, &context);
    return result == CUDA_SUCCESS ? CUDA_ERROR_PEER_ACCESS_UNSUPPORTED : result;
}

SOFT_API CUresult cuCtxDisablePeerAccess(CUcontext peer)
{
    struct soft_context *context;
    CUresult result = soft_context_get(peer, &context);
    return result == CUDA_SUCCESS ? CUDA_ERROR_PEER_ACCESS_NOT_ENABLED : result;
}
