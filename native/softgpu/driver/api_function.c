/* Functions and kernels, which are one thing here: attributes, parameters, occupancy. */
#include <string.h>

#include "module.h"
#include "queue.h"

#define REGISTERS 65536
#define WARP 32

static CUresult enter_function(struct soft_call *call, const void *handle,
                               struct soft_function **function)
{
    CUresult result = soft_enter(call);
    if (result != CUDA_SUCCESS)
        return result;
    soft_lock();
    *function = soft_handle_get(handle, SOFT_FUNCTION, call->tenant->id);
    if (*function)
        return CUDA_SUCCESS;
    soft_unlock();
    return CUDA_ERROR_INVALID_HANDLE;
}

static CUresult get_attribute(const struct soft_function *function, CUfunction_attribute attribute,
                              int *value)
{
    const struct soft_kernel *kernel = function->kernel;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = (int)kernel->max_threads;
        break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
        *value = (int)kernel->static_shared_bytes;
        break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
        *value = (int)kernel->const_bytes;
        break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
        *value = (int)kernel->local_bytes;
        break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
        *value = (int)kernel->registers;
        break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
        *value = (int)kernel->ptx_version;
        break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
        *value = 80;
        break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = (int)function->dynamic_shared_max;
        break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *value = function->carveout;
        break;
    default:
        if ((int)attribute < 0 || attribute >= CU_FUNC_ATTRIBUTE_MAX)
            return CUDA_ERROR_INVALID_VALUE;
        *value = 0;
    }
    return CUDA_SUCCESS;
}

static CUresult set_attribute(struct soft_function *function, CUfunction_attribute attribute,
                              int value)
{
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        if (value < 0 || (uint64_t)value + function->kernel->static_shared_bytes > SOFT_SHARED_MAX)
            return CUDA_ERROR_INVALID_VALUE;
        function->dynamic_shared_max = (uint32_t)value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        if (value < -1 || value > 100)
            return CUDA_ERROR_INVALID_VALUE;
        function->carveout = value;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

SOFT_API CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction handle)
{
    struct soft_call call;
    struct soft_function *function;
    if (!value)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_function(&call, handle, &function);
    if (result != CUDA_SUCCESS)
        return result;
    result = get_attribute(function, attribute, value);
    soft_unlock();
    return result;
}

SOFT_API CUresult cuKernelGetAttribute(int *value, CUfunction_attribute attribute, CUkernel kernel,
                                       CUdevice device)
{
    return cuFuncGetAttribute(value, attribute, (CUfunction)kernel);
}

SOFT_API CUresult cuFuncSetAttribute(CUfunction handle, CUfunction_attribute attribute, int value)
{
    struct soft_call call;
    struct soft_function *function;
    CUresult result = enter_function(&call, handle, &function);
    if (result != CUDA_SUCCESS)
        return result;
    result = set_attribute(function, attribute, value);
    soft_unlock();
    return result;
}

SOFT_API CUresult cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel kernel,
                                       CUdevice device)
{
    return cuFuncSetAttribute((CUfunction)kernel, attribute, value);
}

/* A hint: shared memory and cache do not compete here. */
SOFT_API CUresult cuFuncSetCacheConfig(CUfunction handle, CUfunc_cache config)
{
    struct soft_call call;
    struct soft_function *function;
    CUresult result = enter_function(&call, handle, &function);
    if (result == CUDA_SUCCESS)
        soft_unlock();
    return result;
}

SOFT_API CUresult cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice device)
{
    return cuFuncSetCacheConfig((CUfunction)kernel, config);
}

SOFT_API CUresult cuFuncSetSharedMemConfig(CUfunction handle, CUsharedconfig config)
{
    return cuFuncSetCacheConfig(handle, CU_FUNC_CACHE_PREFER_NONE);
}

SOFT_API CUresult cuFuncGetName(const char **name, CUfunction handle)
{
    struct soft_call call;
    struct soft_function *function;
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_function(&call, handle, &function);
    if (result != CUDA_SUCCESS)
        return result;
    *name = function->kernel->name;
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuKernelGetName(const char **name, CUkernel kernel)
{
    return cuFuncGetName(name, (CUfunction)kernel);
}

SOFT_API CUresult cuFuncGetModule(CUmodule *module, CUfunction handle)
{
    struct soft_call call;
    struct soft_function *function;
    if (!module)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_function(&call, handle, &function);
    if (result != CUDA_SUCCESS)
        return result;
    *module = (CUmodule)function->module->object.handle;
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuKernelGetFunction(CUfunction *out, CUkernel kernel)
{
    struct soft_call call;
    struct soft_function *function;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_function(&call, kernel, &function);
    if (result != CUDA_SUCCESS)
        return result;
    soft_unlock();
    *out = (CUfunction)kernel;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuKernelGetLibrary(CUlibrary *library, CUkernel kernel)
{
    struct soft_call call;
    struct soft_function *function;
    if (!library)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_function(&call, kernel, &function);
    if (result != CUDA_SUCCESS)
        return result;
    if (function->module->library)
        *library = (CUlibrary)function->module->library->object.handle;
    else
        result = CUDA_ERROR_INVALID_HANDLE;
    soft_unlock();
    return result;
}

SOFT_API CUresult cuFuncGetParamInfo(CUfunction handle, size_t index, size_t *offset, size_t *bytes)
{
    struct soft_call call;
    struct soft_function *function;
    if (!offset)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_function(&call, handle, &function);
    if (result != CUDA_SUCCESS)
        return result;
    if (index < function->kernel->param_count) {
        *offset = function->kernel->params[index].offset;
        if (bytes)
            *bytes = function->kernel->params[index].bytes;
    } else {
        result = CUDA_ERROR_INVALID_VALUE;
    }
    soft_unlock();
    return result;
}

SOFT_API CUresult cuKernelGetParamInfo(CUkernel kernel, size_t index, size_t *offset, size_t *bytes)
{
    return cuFuncGetParamInfo((CUfunction)kernel, index, offset, bytes);
}

SOFT_API CUresult cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction handle)
{
    struct soft_call call;
    struct soft_function *function;
    if (!state)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_function(&call, handle, &function);
    if (result != CUDA_SUCCESS)
        return result;
    soft_unlock();
    *state = CU_FUNCTION_LOADING_STATE_LOADED;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuFuncLoad(CUfunction handle)
{
    CUfunctionLoadingState state;
    return cuFuncIsLoaded(&state, handle);
}

/* ---- occupancy ------------------------------------------------------------------------------ */

static bool fits(const struct soft_function *function, int block, size_t dynamic)
{
    uint64_t shared = function->kernel->static_shared_bytes + (uint64_t)dynamic;
    return block > 0 && (uint32_t)block <= function->kernel->max_threads &&
           dynamic <= SOFT_SHARED_MAX && shared <= SOFT_SHARED_MAX;
}

/* A worker runs one block at a time, and that is the answer. Blocks that wait for one another share
 * it: for kernels that may, the answer is how many there can be, a cooperative grid's limit. */
static int active_blocks(const struct soft_function *function, int block, size_t dynamic)
{
    if (!fits(function, block, dynamic))
        return 0;
    if (!(function->kernel->flags & SOFT_KERNEL_WAITS))
        return 1;
    return (int)soft_resident((uint32_t)block,
                              function->kernel->static_shared_bytes + (uint64_t)dynamic);
}

SOFT_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks,
                                                                       CUfunction handle, int block,
                                                                       size_t dynamic,
                                                                       unsigned int flags)
{
    struct soft_call call;
    struct soft_function *function;
    if (!blocks || block <= 0 || (flags & ~(unsigned)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE))
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_function(&call, handle, &function);
    if (result != CUDA_SUCCESS)
        return result;
    *blocks = active_blocks(function, block, dynamic);
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function,
                                                              int block, size_t dynamic)
{
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, block, dynamic,
                                                                0);
}

SOFT_API CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int *grid, int *block,
                                                            CUfunction handle,
                                                            CUoccupancyB2DSize to_dynamic,
                                                            size_t dynamic, int limit,
                                                            unsigned int flags)
{
    struct soft_call call;
    struct soft_function *function;
    if (!grid || !block)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_function(&call, handle, &function);
    if (result != CUDA_SUCCESS)
        return result;
    const struct soft_function copy = *function; /* to_dynamic may call us */
    soft_unlock();
    int threads = (int)copy.kernel->max_threads;
    if (limit > 0 && limit < threads)
        threads = limit;
    if (threads > WARP)
        threads -= threads % WARP;
    while (threads > WARP && !fits(&copy, threads, to_dynamic ? to_dynamic(threads) : dynamic))
        threads -= WARP;
    *block = threads;
    size_t bytes = to_dynamic ? to_dynamic(threads) : dynamic;
    *grid = active_blocks(&copy, threads, bytes) * (int)call.device->worker_count;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuOccupancyMaxPotentialBlockSize(int *grid, int *block, CUfunction function,
                                                   CUoccupancyB2DSize to_dynamic, size_t dynamic,
                                                   int limit)
{
    return cuOccupancyMaxPotentialBlockSizeWithFlags(grid, block, function, to_dynamic, dynamic,
                                                     limit, 0);
}

SOFT_API CUresult cuOccupancyAvailableDynamicSMemPerBlock(size_t *bytes, CUfunction handle,
                                                          int blocks, int block)
{
    struct soft_call call;
    struct soft_function *function;
    if (!bytes || blocks <= 0 || block <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_function(&call, handle, &function);
    if (result != CUDA_SUCCESS)
        return result;
    uint32_t share = SOFT_SHARED_MAX / (uint32_t)blocks,
             fixed = function->kernel->static_shared_bytes;
    *bytes = share > fixed ? share - fixed : 0;
    soft_unlock();
    return CUDA_SUCCESS;
}

/* No clusters on an sm_80. */
SOFT_API CUresult cuOccupancyMaxActiveClusters(int *clusters, CUfunction function,
                                               const CUlaunchConfig *config)
{
    if (!clusters || !config)
        return CUDA_ERROR_INVALID_VALUE;
    *clusters = 0;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuOccupancyMaxPotentialClusterSize(int *size, CUfunction function,
                                                     const CUlaunchConfig *config)
{
    if (!size || !config)
        return CUDA_ERROR_INVALID_VALUE;
    *size = 1;
    return CUDA_SUCCESS;
}
