/* Contexts: a thread's stack of them, primary and created ones. They hold no memory: tenants do. */
#include <stdlib.h>

#include "queue.h"

#define STACK_MAX 64

static _Thread_local struct soft_context *stack[STACK_MAX];
static _Thread_local uint32_t depth;

struct soft_context *soft_context_current(void) { return depth ? stack[depth - 1] : NULL; }

static CUresult context_get(CUcontext handle, struct soft_context **context)
{
    soft_lock();
    *context = soft_handle_get(handle, SOFT_CONTEXT, 0);
    soft_unlock();
    return *context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult ready(void)
{
    struct soft_call call;
    return soft_enter_tenant(&call) == CUDA_ERROR_NOT_INITIALIZED ? CUDA_ERROR_NOT_INITIALIZED
                                                                  : CUDA_SUCCESS;
}

CUresult soft_context_get(CUcontext handle, struct soft_context **context)
{
    CUresult result = ready();
    if (result != CUDA_SUCCESS)
        return result;
    if (handle)
        return context_get(handle, context);
    *context = soft_context_current();
    return *context ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

static CUresult device_check(CUdevice ordinal)
{
    CUresult result = ready();
    if (result == CUDA_SUCCESS && (ordinal < 0 || (uint32_t)ordinal >= soft.device_count))
        result = CUDA_ERROR_INVALID_DEVICE;
    return result;
}

static void limits_default(struct soft_context *context)
{
    context->limits[CU_LIMIT_STACK_SIZE] = 1024;
    context->limits[CU_LIMIT_PRINTF_FIFO_SIZE] = 1 << 20;
    context->limits[CU_LIMIT_MALLOC_HEAP_SIZE] = 8 << 20;
    context->limits[CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH] = 2;
    context->limits[CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT] = 2048;
    context->limits[CU_LIMIT_MAX_L2_FETCH_GRANULARITY] = 64;
}

/* Under the lock. */
static CUresult open_context(struct soft_context *context)
{
    CUresult result = soft_device_start(context->device);
    if (result == CUDA_SUCCESS && !soft_handle_add(&context->object, SOFT_CONTEXT, 0))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS) {
        limits_default(context);
        __atomic_store_n(&context->retained, 1, __ATOMIC_RELEASE);
    }
    return result;
}

/* The last context takes what the current tenant owns with it. */
static void close_context(struct soft_context *context)
{
    struct soft_tenant *tenant = soft_tenant_current();
    soft_lock();
    soft_handle_remove(&context->object);
    __atomic_store_n(&context->retained, 0, __ATOMIC_RELEASE);
    bool last = true;
    for (uint32_t i = 0; i < soft.device_count; i++)
        last = last && !soft.devices[i].primary.retained;
    for (struct soft_context *other = soft.contexts; other; other = other->next)
        last = last && !other->retained;
    soft_unlock();
    if (last && tenant)
        soft_tenant_clear(tenant);
}

/* ---- primary contexts ----------------------------------------------------------------------- */

SOFT_API CUresult cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice ordinal)
{
    CUresult result = device_check(ordinal);
    if (result != CUDA_SUCCESS)
        return result;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_context *context = &soft.devices[ordinal].primary;
    soft_lock();
    if (context->retained)
        __atomic_fetch_add(&context->retained, 1, __ATOMIC_RELAXED);
    else
        result = open_context(context);
    if (result == CUDA_SUCCESS)
        *out = (CUcontext)context->object.handle;
    soft_unlock();
    return result;
}

SOFT_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice ordinal)
{
    CUresult result = device_check(ordinal);
    if (result != CUDA_SUCCESS)
        return result;
    struct soft_context *context = &soft.devices[ordinal].primary;
    soft_lock();
    bool last = context->retained == 1;
    if (!context->retained)
        result = CUDA_ERROR_INVALID_CONTEXT;
    else if (!last)
        __atomic_fetch_sub(&context->retained, 1, __ATOMIC_RELAXED);
    soft_unlock();
    if (last)
        close_context(context);
    return result;
}

SOFT_API CUresult cuDevicePrimaryCtxReset_v2(CUdevice ordinal)
{
    CUresult result = device_check(ordinal);
    if (result == CUDA_SUCCESS && soft.devices[ordinal].primary.retained)
        close_context(&soft.devices[ordinal].primary);
    return result;
}

SOFT_API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice ordinal, unsigned int flags)
{
    CUresult result = device_check(ordinal);
    if (result == CUDA_SUCCESS)
        __atomic_store_n(&soft.devices[ordinal].primary.flags, flags, __ATOMIC_RELAXED);
    return result;
}

SOFT_API CUresult cuDevicePrimaryCtxGetState(CUdevice ordinal, unsigned int *flags, int *active)
{
    CUresult result = device_check(ordinal);
    if (result != CUDA_SUCCESS)
        return result;
    if (!flags || !active)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = __atomic_load_n(&soft.devices[ordinal].primary.flags, __ATOMIC_RELAXED);
    *active = __atomic_load_n(&soft.devices[ordinal].primary.retained, __ATOMIC_RELAXED) != 0;
    return CUDA_SUCCESS;
}

/* ---- created contexts ----------------------------------------------------------------------- */

static CUresult create(CUcontext *out, unsigned int flags, CUdevice ordinal)
{
    CUresult result = device_check(ordinal);
    if (result != CUDA_SUCCESS)
        return result;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    if (depth == STACK_MAX)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct soft_context *context = calloc(1, sizeof *context);
    if (!context)
        return CUDA_ERROR_OUT_OF_MEMORY;
    context->device = &soft.devices[ordinal];
    context->flags = flags;
    soft_lock();
    context->id = ++soft.next_id;
    result = open_context(context);
    if (result == CUDA_SUCCESS) {
        context->next = soft.contexts;
        soft.contexts = context;
        *out = (CUcontext)context->object.handle;
        stack[depth++] = context;
    } else {
        free(context);
    }
    soft_unlock();
    return result;
}

SOFT_API CUresult cuCtxCreate_v2(CUcontext *out, unsigned int flags, CUdevice device)
{
    return create(out, flags, device);
}

SOFT_API CUresult cuCtxCreate_v3(CUcontext *out, CUexecAffinityParam *params, int count,
                                 unsigned int flags, CUdevice device)
{
    return count ? CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY : create(out, flags, device);
}

SOFT_API CUresult cuCtxCreate_v4(CUcontext *out, CUctxCreateParams *params, unsigned int flags,
                                 CUdevice device)
{
    return params && params->numExecAffinityParams ? CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY
                                                   : create(out, flags, device);
}

SOFT_API CUresult cuCtxDestroy_v2(CUcontext handle)
{
    struct soft_context *context;
    CUresult result = ready();
    if (result == CUDA_SUCCESS)
        result = context_get(handle, &context);
    if (result != CUDA_SUCCESS)
        return result;
    if (context->primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (soft_context_current() == context)
        depth--;
    close_context(context);
    return CUDA_SUCCESS;
}

/* ---- the thread's stack --------------------------------------------------------------------- */

SOFT_API CUresult cuCtxPushCurrent_v2(CUcontext handle)
{
    struct soft_context *context;
    CUresult result = ready();
    if (result == CUDA_SUCCESS)
        result = context_get(handle, &context);
    if (result == CUDA_SUCCESS && depth == STACK_MAX)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS)
        stack[depth++] = context;
    return result;
}

SOFT_API CUresult cuCtxPopCurrent_v2(CUcontext *out)
{
    CUresult result = ready();
    if (result != CUDA_SUCCESS)
        return result;
    if (!depth)
        return CUDA_ERROR_INVALID_CONTEXT;
    depth--;
    if (out)
        *out = (CUcontext)stack[depth]->object.handle;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuCtxSetCurrent(CUcontext handle)
{
    struct soft_context *context = NULL;
    CUresult result = ready();
    if (result == CUDA_SUCCESS && handle)
        result = context_get(handle, &context);
    if (result != CUDA_SUCCESS)
        return result;
    if (!context) {
        if (depth)
            depth--;
        return CUDA_SUCCESS;
    }
    if (!depth)
        depth = 1;
    stack[depth - 1] = context;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuCtxGetCurrent(CUcontext *out)
{
    CUresult result = ready();
    if (result != CUDA_SUCCESS)
        return result;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_context *context = soft_context_current();
    *out = context ? (CUcontext)context->object.handle : NULL;
    return CUDA_SUCCESS;
}
