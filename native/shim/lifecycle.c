/* How contexts come and go: the devices' primary contexts, counted, and those that programs create.
 */
#include "context.h"
#include "generated/custom.h"

#define CTX_FLAGS_VALID ((unsigned int)CU_CTX_FLAGS_MASK)
#define CTX_SCHED_INVALID 3u /* CU_CTX_SCHED_* are 0, 1, 2 and 4 */

/* ---- primary contexts ----------------------------------------------------------------------- */

CUresult shim_cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev)
{
    if (pctx == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    CUcontext handle;
    CUresult status = shim_context_primary(dev, &handle);
    if (status != CUDA_SUCCESS)
        return status;
    struct shim_context *context = shim_context_lookup(handle);
    tally_mutex_take(&shim_contexts_lock);
    context->references++;
    atomic_store_explicit(&context->live, true, memory_order_release);
    tally_mutex_give(&shim_contexts_lock);
    *pctx = handle;
    return CUDA_SUCCESS;
}

/* Ends a primary context's life: `all` drops every retain (reset), else one (release). */
static CUresult let_go_of_primary(CUdevice dev, bool all)
{
    CUcontext handle;
    CUresult status = shim_context_primary(dev, &handle);
    if (status != CUDA_SUCCESS)
        return status;
    struct shim_context *context = shim_context_lookup(handle);
    if (context == NULL) /* a primary context never loses its slot; the compiler cannot know */
        return CUDA_ERROR_INVALID_CONTEXT;
    tally_mutex_take(&shim_contexts_lock);
    bool was_live = atomic_load(&context->live);
    if (context->references > 0)
        context->references--;
    bool ends = was_live && (all || context->references == 0);
    if (ends) {
        atomic_store_explicit(&context->live, false, memory_order_release);
        context->references = 0;
        shim_context_set_up_locked(context, context->device, context->flags);
    }
    tally_mutex_give(&shim_contexts_lock);
    if (ends)
        shim_context_close(context);
    return was_live || all ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

CUresult shim_cuDevicePrimaryCtxRelease_v2(CUdevice dev) { return let_go_of_primary(dev, false); }

CUresult shim_cuDevicePrimaryCtxReset_v2(CUdevice dev) { return let_go_of_primary(dev, true); }

CUresult shim_cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active)
{
    if (flags == NULL || active == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    CUcontext handle;
    CUresult status = shim_context_primary(dev, &handle);
    if (status != CUDA_SUCCESS)
        return status;
    const struct shim_context *context = shim_context_lookup(handle);
    *flags = context->flags;
    *active = atomic_load(&context->live);
    return CUDA_SUCCESS;
}

static bool flags_valid(unsigned int flags)
{
    unsigned int sched = flags & CU_CTX_SCHED_MASK;
    return (flags & ~CTX_FLAGS_VALID) == 0 && sched != CTX_SCHED_INVALID &&
           sched <= CU_CTX_SCHED_BLOCKING_SYNC;
}

CUresult shim_cuDevicePrimaryCtxSetFlags_v2(CUdevice dev, unsigned int flags)
{
    CUcontext handle;
    CUresult status = shim_context_primary(dev, &handle);
    if (status != CUDA_SUCCESS)
        return status;
    if (!flags_valid(flags))
        return CUDA_ERROR_INVALID_VALUE;
    shim_context_lookup(handle)->flags = flags;
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxSetFlags(unsigned int flags)
{
    struct shim_context *context;
    CUresult status = shim_current(&context, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    if (!flags_valid(flags))
        return CUDA_ERROR_INVALID_VALUE;
    context->flags = flags;
    return CUDA_SUCCESS;
}

/* ---- other contexts ------------------------------------------------------------------------- */

static CUresult create(CUcontext *pctx, unsigned int flags, CUdevice dev, uint32_t api_version)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (pctx == NULL || !flags_valid(flags))
        return CUDA_ERROR_INVALID_VALUE;
    tally_mutex_take(&shim_contexts_lock);
    struct shim_context *context = shim_context_free_slot_locked();
    if (context != NULL) {
        shim_context_set_up_locked(context, (uint32_t)dev, flags);
        context->api_version = api_version;
        context->references = 1;
        atomic_store(&context->channel, NULL);
        atomic_store_explicit(&context->live, true, memory_order_release);
    }
    tally_mutex_give(&shim_contexts_lock);
    if (context == NULL)
        return CUDA_ERROR_OUT_OF_MEMORY;
    status = shim_stack_push(context);
    if (status == CUDA_SUCCESS)
        *pctx = shim_context_handle(context);
    else
        shim_cuCtxDestroy_v2(shim_context_handle(context));
    return status;
}

CUresult shim_cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev)
{
    return create(pctx, flags, dev, 3020);
}

CUresult shim_cuCtxCreate_v3(CUcontext *pctx, CUexecAffinityParam *paramsArray, int numParams,
                             unsigned int flags, CUdevice dev)
{
    if (numParams != 0)
        return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY; /* as cuDeviceGetExecAffinitySupport says */
    return create(pctx, flags, dev, 3020);
}

CUresult shim_cuCtxCreate_v4(CUcontext *pctx, CUctxCreateParams *ctxCreateParams,
                             unsigned int flags, CUdevice dev)
{
    if (ctxCreateParams != NULL && ctxCreateParams->cigParams != NULL)
        return CUDA_ERROR_NOT_SUPPORTED;
    int affinities = ctxCreateParams != NULL ? ctxCreateParams->numExecAffinityParams : 0;
    return shim_cuCtxCreate_v3(pctx, NULL, affinities, flags, dev);
}

CUresult shim_cuCtxDestroy_v2(CUcontext ctx)
{
    CUresult status = shim_initialized();
    if (status != CUDA_SUCCESS)
        return status;
    struct shim_context *context = shim_context_lookup(ctx);
    if (context == NULL ||
        shim_context_is_primary(context)) /* a primary context is released, not destroyed */
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!atomic_exchange(&context->live, false))
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    shim_context_close(context);
    shim_stack_drop(context);
    tally_mutex_take(&shim_contexts_lock);
    atomic_store_explicit(&context->id, 0, memory_order_release);
    tally_mutex_give(&shim_contexts_lock);
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxAttach(CUcontext *pctx, unsigned int flags)
{
    if (pctx == NULL || flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    struct shim_context *context;
    CUresult status = shim_current(&context, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    tally_mutex_take(&shim_contexts_lock);
    context->references++;
    tally_mutex_give(&shim_contexts_lock);
    *pctx = shim_context_handle(context);
    return CUDA_SUCCESS;
}

CUresult shim_cuCtxDetach(CUcontext ctx)
{
    struct shim_context *context;
    CUresult status = shim_current(&context, NULL);
    if (status != CUDA_SUCCESS)
        return status;
    if (shim_context_handle(context) != ctx)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (context->primary) /* attaching retained it */
        return let_go_of_primary((CUdevice)context->device, false);
    tally_mutex_take(&shim_contexts_lock);
    bool last = --context->references == 0;
    tally_mutex_give(&shim_contexts_lock);
    return last ? shim_cuCtxDestroy_v2(ctx) : CUDA_SUCCESS;
}
