/* Launches: one one-way message each. The parameter layout came with the function's handle, so a
 * launch needs no answer, and what CUDA would refuse at once is refused here. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "functions.h"
#include "generated/custom.h"
#include "stream_work.h"
#include "tally/assert.h"
#include "wire/zmq.h"

/* What was asked for, as it will be sent, and what follows it there. */
struct launch {
    struct tally_op_launch op;
    const CUlaunchAttribute *attributes;
};

/* ---- what CUDA refuses synchronously -------------------------------------------------------- */

static inline bool dims_fit(const uint32_t dims[3], const int32_t limits[3])
{
    for (int i = 0; i < 3; i++)
        if (!dims[i] || dims[i] > (uint32_t)limits[i])
            return false;
    return true;
}

static inline CUresult check(const struct shim_function *function,
                             const struct tally_device_info *device,
                             const struct tally_op_launch *op)
{
    if (!dims_fit(op->grid, device->attributes + CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X) ||
        !dims_fit(op->block, device->attributes + CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X))
        return CUDA_ERROR_INVALID_VALUE;
    /* Each factor is below 2^31, and the first two multiply to less than 2^62. */
    uint64_t threads = (uint64_t)op->block[0] * op->block[1];
    if (threads > INT32_MAX ||
        threads * op->block[2] >
            (uint64_t)function->attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK])
        return CUDA_ERROR_INVALID_VALUE;
    int32_t shared_max = __atomic_load_n(
        &function->attributes[CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES], __ATOMIC_RELAXED);
    return op->dynamic_shared_bytes <= (uint32_t)shared_max ? CUDA_SUCCESS
                                                            : CUDA_ERROR_INVALID_VALUE;
}

/* An attribute may hold an event, which is a handle of the shim's; the executor does not look
 * into attributes. */
static SHIM_RARE CUresult check_attributes(const struct launch *launch)
{
    if (launch->op.attribute_count > TALLY_ATTRIBUTES_MAX || !launch->attributes)
        return CUDA_ERROR_INVALID_VALUE;
    for (uint32_t i = 0; i < launch->op.attribute_count; i++)
        if (launch->attributes[i].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT ||
            launch->attributes[i].id == CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT ||
            launch->attributes[i].id == CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE) {
            static uint64_t calls;
            return shim_unsupported("cuLaunchKernelEx(event or node attribute)", &calls);
        }
    return CUDA_SUCCESS;
}

/* ---- parameters ----------------------------------------------------------------------------- */

/* Where the parameters come from: an array of pointers, or one buffer (`extra`). */
struct params {
    void **pointers;
    const void *buffer;
    uint32_t bytes; /* to be sent */
    uint32_t given; /* how many of them the buffer has */
};

static CUresult read_extra(void **extra, const void **buffer, size_t *bytes)
{
    bool sized = false;
    *buffer = NULL;
    for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
        if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) {
            *buffer = extra[1];
        } else if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE && extra[1]) {
            memcpy(bytes, extra[1], sizeof *bytes);
            sized = true;
        } else {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    return *buffer && sized ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* A buffer may be longer than the parameters, because C pads structs. It may be shorter: a
 * kernel with one large buffer as its parameter (NCCL: 4096 bytes) is often given only the part
 * that it reads, and the rest is sent as zeros. A kernel whose layout the executor does not know
 * takes the buffer as it is. */
static SHIM_RARE CUresult find_buffer(const struct shim_function *function, void **extra,
                                      struct params *params)
{
    size_t bytes;
    if (params->pointers)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = read_extra(extra, &params->buffer, &bytes);
    if (result)
        return result;
    if (bytes > TALLY_PARAM_BYTES_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    if (!function->param_count)
        params->bytes = (uint32_t)bytes;
    params->given = bytes < params->bytes ? (uint32_t)bytes : params->bytes;
    return CUDA_SUCCESS;
}

static inline CUresult find_params(const struct shim_function *function, void **pointers,
                                   void **extra, struct params *params)
{
    *params = (struct params){.pointers = pointers, .bytes = function->param_bytes};
    if (extra)
        return find_buffer(function, extra, params);
    if (!function->param_count)
        return CUDA_SUCCESS;
    bool all = pointers != NULL;
    for (uint32_t i = 0; all && i < function->param_count; i++)
        all = pointers[i] != NULL;
    return all ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* Nearly all parameters are pointers and ints: no call for those. */
static inline void copy_param(uint8_t *to, const void *from, uint32_t bytes)
{
    if (bytes == 8)
        memcpy(to, from, 8);
    else if (bytes == 4)
        memcpy(to, from, 4);
    else
        memcpy(to, from, bytes);
}

static inline void pack(const struct shim_function *function, const struct params *params,
                        uint8_t *to)
{
    if (params->buffer) {
        memcpy(to, params->buffer, params->given);
        memset(to + params->given, 0, params->bytes - params->given);
        return;
    }
    if (function->padded) /* sent as zeros, not as what this memory held before */
        memset(to, 0, params->bytes);
    void **from = params->pointers;
    const struct tally_param *param = function->params, *end = param + function->param_count;
    for (; param < end; param++, from++)
        copy_param(to + param->offset, *from, param->bytes);
}

/* ---- launching ------------------------------------------------------------------------------ */

/* The message is put together where libzmq will send it from. */
static inline CUresult submit(const struct shim_stream_ref *ref,
                              const struct shim_function *function, const struct launch *launch,
                              const struct params *params)
{
    struct tally_zmq_message message;
    if (tally_zmq.msg_init_size(&message, launch->op.op.bytes) != 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint8_t *to = tally_zmq.msg_data(&message), *end = to + launch->op.op.bytes;
    memcpy(to, &launch->op, sizeof launch->op);
    to += sizeof launch->op;
    if (launch->op.attribute_count) {
        size_t bytes = launch->op.attribute_count * sizeof *launch->attributes;
        memcpy(to, launch->attributes, bytes);
        to += bytes;
    }
    TALLY_ASSERT(to + params->bytes == end); /* what the executor asks of the message */
    pack(function, params, to);
    return shim_stream_submit(ref, &(struct shim_work){.message = &message});
}

/* CUDA_LAUNCH_BLOCKING, read when cuInit succeeds: programs set it for themselves as late as that.
 */
static atomic_bool launches_block;

void shim_launches_configure(void)
{
    const char *value = getenv("CUDA_LAUNCH_BLOCKING");
    atomic_store(&launches_block, value && atoi(value) != 0);
}

/* What a launch costs its program. Flattened into one function: it passes through a dozen small
 * functions of as many files, and calling them would cost half as much again. What is rare stays
 * outside (SHIM_RARE). */
static __attribute__((flatten)) CUresult launch_on(bool per_thread, CUfunction f, CUstream stream,
                                                   struct launch *launch, void **kernel_params,
                                                   void **extra)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, stream, &ref);
    if (result)
        return result;
    struct shim_function *function = shim_function_get((uintptr_t)f);
    if (!function)
        return CUDA_ERROR_INVALID_HANDLE;
    if (function->channel != ref.channel &&
        (result = shim_function_on(function, ref.channel)) != CUDA_SUCCESS)
        return result;
    struct params params;
    struct tally_op_launch *op = &launch->op;
    result = check(function, shim_channel_info(ref.channel), op);
    if (!result && op->attribute_count)
        result = check_attributes(launch);
    if (!result)
        result = find_params(function, kernel_params, extra, &params);
    if (result)
        return result;
    op->op.code = TALLY_OP_LAUNCH;
    op->op.bytes =
        (uint32_t)(sizeof *op + op->attribute_count * sizeof *launch->attributes + params.bytes);
    op->function = function->handle;
    op->stream = ref.wire;
    op->param_bytes = params.bytes;
    result = submit(&ref, function, launch, &params);
    if (!result && atomic_load_explicit(&launches_block, memory_order_relaxed))
        return shim_stream_wait(&ref);
    return result;
}

CUresult shim_cuLaunchKernel(bool per_thread, CUfunction f, unsigned int gridDimX,
                             unsigned int gridDimY, unsigned int gridDimZ, unsigned int blockDimX,
                             unsigned int blockDimY, unsigned int blockDimZ,
                             unsigned int sharedMemBytes, CUstream hStream, void **kernelParams,
                             void **extra)
{
    struct launch launch = {
        .op.grid = {gridDimX, gridDimY, gridDimZ},
        .op.block = {blockDimX, blockDimY, blockDimZ},
        .op.dynamic_shared_bytes = sharedMemBytes,
    };
    return launch_on(per_thread, f, hStream, &launch, kernelParams, extra);
}

CUresult shim_cuLaunchKernelEx(bool per_thread, const CUlaunchConfig *config, CUfunction f,
                               void **kernelParams, void **extra)
{
    if (!config)
        return CUDA_ERROR_INVALID_VALUE;
    struct launch launch = {
        .op.grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
        .op.block = {config->blockDimX, config->blockDimY, config->blockDimZ},
        .op.dynamic_shared_bytes = config->sharedMemBytes,
        .attributes = config->attrs,
        .op.attribute_count = config->numAttrs,
    };
    return launch_on(per_thread, f, config->hStream, &launch, kernelParams, extra);
}

CUresult shim_cuLaunchCooperativeKernel(bool per_thread, CUfunction f, unsigned int gridDimX,
                                        unsigned int gridDimY, unsigned int gridDimZ,
                                        unsigned int blockDimX, unsigned int blockDimY,
                                        unsigned int blockDimZ, unsigned int sharedMemBytes,
                                        CUstream hStream, void **kernelParams)
{
    struct launch launch = {
        .op.grid = {gridDimX, gridDimY, gridDimZ},
        .op.block = {blockDimX, blockDimY, blockDimZ},
        .op.dynamic_shared_bytes = sharedMemBytes,
        .op.flags = TALLY_LAUNCH_COOPERATIVE,
    };
    return launch_on(per_thread, f, hStream, &launch, kernelParams, NULL);
}
