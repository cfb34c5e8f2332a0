/* Launches: everything is checked here, so that a queued launch can only fail by what its code
 * does. */
#include <stdlib.h>
#include <string.h>

#include "module.h"
#include "queue.h"

#define GRID_YZ_MAX 65535u
#define BLOCK_XY_MAX 1024u
#define BLOCK_Z_MAX 64u

static _Thread_local uint64_t launch_tag;

SOFT_API void softgpuLaunchTag(uint64_t tag) { launch_tag = tag; }

uint64_t soft_launch_tag(void) { return launch_tag; }

struct shape {
    uint32_t grid[3], block[3], dynamic;
    bool cooperative, has_priority;
    int priority;
};

static CUresult check_shape(const struct soft_function *function, const struct soft_device *device,
                            const struct shape *shape, uint64_t *blocks)
{
    const struct soft_kernel *kernel = function->kernel;
    const uint32_t *grid = shape->grid, *block = shape->block;
    if (!grid[0] || !grid[1] || !grid[2] || grid[0] > INT32_MAX || grid[1] > GRID_YZ_MAX ||
        grid[2] > GRID_YZ_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    if (!block[0] || !block[1] || !block[2] || block[0] > BLOCK_XY_MAX || block[1] > BLOCK_XY_MAX ||
        block[2] > BLOCK_Z_MAX || block[0] * block[1] * block[2] > BLOCK_XY_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    if (block[0] * block[1] * block[2] > kernel->max_threads)
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    for (int i = 0; i < 3; i++)
        if (kernel->required_block[0] && kernel->required_block[i] &&
            kernel->required_block[i] != block[i])
            return CUDA_ERROR_INVALID_VALUE;
    if (shape->dynamic > function->dynamic_shared_max)
        return CUDA_ERROR_INVALID_VALUE;
    if (__builtin_mul_overflow((uint64_t)grid[0] * grid[1], (uint64_t)grid[2], blocks) ||
        *blocks > INT64_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t resident = soft_resident(block[0] * block[1] * block[2],
                                      shape->dynamic + (uint64_t)kernel->static_shared_bytes);
    if (shape->cooperative && *blocks > resident * device->worker_count)
        return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    return CUDA_SUCCESS;
}

/* The packed buffer of an `extra` list. */
static CUresult read_extra(void **extra, const void **buffer, size_t *bytes)
{
    const size_t *size = NULL;
    *buffer = NULL;
    for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
        if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER)
            *buffer = extra[1];
        else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE)
            size = extra[1];
        else
            return CUDA_ERROR_INVALID_VALUE;
    }
    *bytes = size ? *size : 0;
    return *bytes && !*buffer ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

static CUresult pack(const struct soft_kernel *kernel, void **params, void **extra, uint8_t *packed)
{
    memset(packed, 0, kernel->param_bytes);
    if (extra && *extra != CU_LAUNCH_PARAM_END) {
        const void *buffer;
        size_t bytes;
        if (params)
            return CUDA_ERROR_INVALID_VALUE;
        CUresult result = read_extra(extra, &buffer, &bytes);
        if (result == CUDA_SUCCESS && bytes)
            memcpy(packed, buffer, bytes < kernel->param_bytes ? bytes : kernel->param_bytes);
        return result;
    }
    if (kernel->param_count && !params)
        return CUDA_ERROR_INVALID_VALUE;
    for (uint32_t i = 0; i < kernel->param_count; i++) {
        if (!params[i])
            return CUDA_ERROR_INVALID_VALUE;
        memcpy(packed + kernel->params[i].offset, params[i], kernel->params[i].bytes);
    }
    return CUDA_SUCCESS;
}

static void fill_launch(struct soft_op *op, const struct soft_function *function,
                        const struct shape *shape)
{
    struct soft_tenant *tenant = function->module->tenant;
    struct soft_launch *launch = &op->launch;
    launch->kernel = function->kernel;
    launch->params = op->tail_bytes;
    launch->globals = (uint8_t *)(uintptr_t)function->module->globals;
    memcpy(launch->grid, shape->grid, sizeof launch->grid);
    memcpy(launch->block, shape->block, sizeof launch->block);
    launch->dynamic_shared_bytes = shape->dynamic;
    launch->tenant = tenant->id;
    launch->region_base = tenant->region_base;
    launch->region_bytes = tenant->region_bytes;
    launch->pinned_base = tenant->pinned_base;
    launch->pinned_bytes = tenant->pinned_bytes;
    launch->grid_id = atomic_fetch_add_explicit(&tenant->grids, 1, memory_order_relaxed) + 1;
    launch->abort = &op->abort;
}

/* Under the lock. */
static CUresult launch_locked(struct soft_call *call, CUfunction handle, const struct shape *shape,
                              CUstream stream_handle, void **params, void **extra)
{
    struct soft_function *function = soft_handle_get(handle, SOFT_FUNCTION, call->tenant->id);
    struct soft_stream *stream;
    uint64_t blocks;
    if (!function)
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult result = soft_stream_get(call, stream_handle, &stream);
    if (result == CUDA_SUCCESS)
        result = check_shape(function, stream->device, shape, &blocks);
    if (result != CUDA_SUCCESS)
        return result;
    struct soft_op *op = soft_op_new(SOFT_OP_LAUNCH, function->kernel->param_bytes);
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = pack(function->kernel, params, extra, op->tail_bytes);
    if (result != CUDA_SUCCESS) {
        soft_op_free(op);
        return result;
    }
    fill_launch(op, function, shape);
    /* Dry: also kernels that could run are skipped, for their data may be what a skipped one never
     * wrote. */
    op->total = soft.dry ? 0 : blocks;
    op->cooperative = shape->cooperative;
    op->workspace.bytes = sizeof op->workspace;
    op->launch.workspace = shape->cooperative ? &op->workspace : NULL;
    op->priority = shape->has_priority ? shape->priority : stream->priority;
    op->tag = launch_tag;
    return soft_submit(stream, op);
}

/* Code for this shape of block is compiled here, on the program's time and not on the device's. Not
 * under the lock: it may take seconds. The module may be unloaded meanwhile, its code stays. */
static CUresult compile(const struct soft_call *call, CUfunction handle, const struct shape *shape)
{
    soft_lock();
    const struct soft_function *function = soft_handle_get(handle, SOFT_FUNCTION, call->tenant->id);
    const struct soft_kernel *kernel = function ? function->kernel : NULL;
    struct soft_module *module = function ? function->module : NULL;
    if (module)
        soft_module_pin(module);
    soft_unlock();
    uint32_t threads = shape->block[0] * shape->block[1] * shape->block[2];
    /* Or the launch will be refused. */
    bool fits = kernel && threads && threads <= kernel->max_threads;
    CUresult result = fits ? soft_resolve(kernel, shape->block) : CUDA_SUCCESS;
    if (module) {
        soft_lock();
        soft_module_unpin(module);
        bool unloaded = module->unloaded && !module->pins;
        soft_unlock();
        if (unloaded)
            soft_module_release();
    }
    return result;
}

static CUresult launch(CUfunction function, const struct shape *shape, CUstream stream,
                       void **params, void **extra)
{
    struct soft_call call;
    CUresult result = soft_enter(&call);
    if (result == CUDA_SUCCESS && !soft.dry)
        result = compile(&call, function, shape);
    if (result != CUDA_SUCCESS)
        return result;
    soft_lock();
    result = launch_locked(&call, function, shape, stream, params, extra);
    soft_unlock();
    return result;
}

SOFT_API CUresult cuLaunchKernel(CUfunction function, unsigned int gx, unsigned int gy,
                                 unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz,
                                 unsigned int dynamic, CUstream stream, void **params, void **extra)
{
    struct shape shape = {.grid = {gx, gy, gz}, .block = {bx, by, bz}, .dynamic = dynamic};
    return launch(function, &shape, stream, params, extra);
}

SOFT_API CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned int gx, unsigned int gy,
                                            unsigned int gz, unsigned int bx, unsigned int by,
                                            unsigned int bz, unsigned int dynamic, CUstream stream,
                                            void **params)
{
    struct shape shape = {
        .grid = {gx, gy, gz}, .block = {bx, by, bz}, .dynamic = dynamic, .cooperative = true};
    return launch(function, &shape, stream, params, NULL);
}

/* Attributes that change what runs are honoured or refused; hints are let pass. */
static CUresult read_attribute(const CUlaunchAttribute *attribute, struct shape *shape)
{
    const CUlaunchAttributeValue *value = &attribute->value;
    switch (attribute->id) {
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        shape->cooperative = value->cooperative != 0;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
        if (value->priority > SOFT_PRIORITY_LEAST || value->priority < SOFT_PRIORITY_GREATEST)
            return CUDA_ERROR_INVALID_VALUE;
        shape->has_priority = true;
        shape->priority = value->priority;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        if (value->clusterDim.x * value->clusterDim.y * value->clusterDim.z > 1)
            return CUDA_ERROR_NOT_SUPPORTED;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT:
    case CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT:
    case CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE:
        return CUDA_ERROR_NOT_SUPPORTED;
    default:
        return CUDA_SUCCESS;
    }
}

SOFT_API CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **params,
                                   void **extra)
{
    if (!config || (config->numAttrs && !config->attrs))
        return CUDA_ERROR_INVALID_VALUE;
    struct shape shape = {
        .grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
        .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
        .dynamic = config->sharedMemBytes,
    };
    for (unsigned i = 0; i < config->numAttrs; i++) {
        CUresult result = read_attribute(&config->attrs[i], &shape);
        if (result != CUDA_SUCCESS)
            return result;
    }
    return launch(function, &shape, config->hStream, params, extra);
}
