/* Launches: one one-way message each. The parameter layout came with the function's handle, so a launch
 * needs no answer, and what CUDA would refuse at once is refused here. */
#include <string.h>

#include "generated/custom.h"
#include "modules.h"
#include "streams.h"
#include "wire/zmq.h"

struct launch {
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared_bytes;
    uint32_t flags;
    const CUlaunchAttribute *attributes;
    uint32_t attribute_count;
};

/* ---- what CUDA refuses synchronously ------------------------------------------------------------------------ */

static bool dims_fit(const uint32_t dims[3], const int32_t limits[3])
{
    for (int i = 0; i < 3; i++)
        if (!dims[i] || dims[i] > (uint32_t)limits[i])
            return false;
    return true;
}

static CUresult check(const struct shim_function *function, const struct launch *launch)
{
    const struct tally_device_info *device = shim_device(shim_channel_device(function->channel));
    if (!device)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (!dims_fit(launch->grid, device->attributes + CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X) ||
        !dims_fit(launch->block, device->attributes + CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X))
        return CUDA_ERROR_INVALID_VALUE;
    /* Each factor is below 2^31, and the first two multiply to less than 2^62. */
    uint64_t threads = (uint64_t)launch->block[0] * launch->block[1];
    if (threads > INT32_MAX || threads * launch->block[2] >
                                   (uint64_t)function->attributes[CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK])
        return CUDA_ERROR_INVALID_VALUE;
    int32_t shared_max =
        __atomic_load_n(&function->attributes[CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES], __ATOMIC_RELAXED);
    if (launch->dynamic_shared_bytes > (uint32_t)shared_max)
        return CUDA_ERROR_INVALID_VALUE;
    return launch->attribute_count <= TALLY_ATTRIBUTES_MAX ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* An attribute that holds an event names one of ours, which the executor cannot look into. */
static CUresult check_attributes(const struct launch *launch)
{
    if (launch->attribute_count && !launch->attributes)
        return CUDA_ERROR_INVALID_VALUE;
    for (uint32_t i = 0; i < launch->attribute_count; i++)
        if (launch->attributes[i].id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT ||
            launch->attributes[i].id == CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT ||
            launch->attributes[i].id == CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE) {
            static uint64_t calls;
            return shim_unsupported("cuLaunchKernelEx(event or node attribute)", &calls);
        }
    return CUDA_SUCCESS;
}

/* ---- parameters ------------------------------------------------------------------------------------------------ */

/* Where the parameters come from: an array of pointers, or one buffer (`extra`). */
struct params {
    void **pointers;
    const void *buffer;
    uint32_t bytes; /* to be sent */
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

/* A buffer may be longer than the parameters (C pads structs), not shorter. A kernel whose layout the
 * executor could not tell takes the buffer as it is. */
static CUresult find_params(const struct shim_function *function, void **pointers, void **extra, struct params *params)
{
    *params = (struct params){.pointers = pointers, .bytes = function->param_bytes};
    if (pointers && extra)
        return CUDA_ERROR_INVALID_VALUE;
    if (!extra)
        return pointers || !function->param_count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    size_t bytes;
    CUresult result = read_extra(extra, &params->buffer, &bytes);
    if (result)
        return result;
    if (bytes < function->param_bytes || bytes > TALLY_PARAM_BYTES_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    if (!function->param_count)
        params->bytes = (uint32_t)bytes;
    return CUDA_SUCCESS;
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

static void pack(const struct shim_function *function, const struct params *params, uint8_t *to)
{
    if (params->buffer) {
        memcpy(to, params->buffer, params->bytes);
        return;
    }
    uint32_t end = 0;
    for (uint32_t i = 0; i < function->param_count; i++) {
        struct tally_param param = function->params[i];
        if (param.offset > end)
            memset(to + end, 0, param.offset - end); /* padding is sent as zeros, not as our stack */
        copy_param(to + param.offset, params->pointers[i], param.bytes);
        end = param.offset + param.bytes;
    }
    if (params->bytes > end)
        memset(to + end, 0, params->bytes - end);
}

/* ---- launching ------------------------------------------------------------------------------------------------- */

/* libzmq promises no alignment. */
typedef struct tally_op_launch unaligned_launch __attribute__((aligned(1)));

/* The message is put together where libzmq will send it from. */
static CUresult submit(const struct shim_function *function, const struct shim_stream_ref *ref,
                       const struct launch *launch, const struct params *params)
{
    size_t attribute_bytes = launch->attribute_count * sizeof(CUlaunchAttribute);
    size_t bytes = sizeof(struct tally_op_launch) + attribute_bytes + params->bytes;
    struct tally_zmq_message message;
    if (tally_zmq.msg_init_size(&message, bytes) != 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint8_t *to = tally_zmq.msg_data(&message);
    *(unaligned_launch *)to = (unaligned_launch){
        .op.code = TALLY_OP_LAUNCH,
        .op.bytes = (uint32_t)bytes,
        .function = function->handle,
        .stream = ref->wire,
        .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
        .block = {launch->block[0], launch->block[1], launch->block[2]},
        .dynamic_shared_bytes = launch->dynamic_shared_bytes,
        .flags = launch->flags,
        .attribute_count = launch->attribute_count,
        .param_bytes = params->bytes,
    };
    to += sizeof(struct tally_op_launch);
    if (attribute_bytes)
        memcpy(to, launch->attributes, attribute_bytes);
    pack(function, params, to + attribute_bytes);
    return shim_post(ref->channel, &message);
}

static CUresult launch_on(bool per_thread, CUfunction f, CUstream stream, const struct launch *launch,
                          void **kernel_params, void **extra)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, stream, &ref);
    if (result)
        return result;
    struct shim_function *function = shim_function_get((uintptr_t)f);
    if (!function)
        return CUDA_ERROR_INVALID_HANDLE;
    if (function->channel != ref.channel && (result = shim_function_on(function, ref.channel)) != CUDA_SUCCESS)
        return result;
    struct params params;
    result = check(function, launch);
    if (!result)
        result = check_attributes(launch);
    if (!result)
        result = find_params(function, kernel_params, extra, &params);
    return result ? result : submit(function, &ref, launch, &params);
}

CUresult shim_cuLaunchKernel(bool per_thread, CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                             unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                             unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                             void **kernelParams, void **extra)
{
    struct launch launch = {
        .grid = {gridDimX, gridDimY, gridDimZ},
        .block = {blockDimX, blockDimY, blockDimZ},
        .dynamic_shared_bytes = sharedMemBytes,
    };
    return launch_on(per_thread, f, hStream, &launch, kernelParams, extra);
}

CUresult shim_cuLaunchKernelEx(bool per_thread, const CUlaunchConfig *config, CUfunction f, void **kernelParams,
                               void **extra)
{
    if (!config)
        return CUDA_ERROR_INVALID_VALUE;
    struct launch launch = {
        .grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
        .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
        .dynamic_shared_bytes = config->sharedMemBytes,
        .attributes = config->attrs,
        .attribute_count = config->numAttrs,
    };
    return launch_on(per_thread, f, config->hStream, &launch, kernelParams, extra);
}

CUresult shim_cuLaunchCooperativeKernel(bool per_thread, CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
                                        unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
                                        unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
                                        void **kernelParams)
{
    struct launch launch = {
        .grid = {gridDimX, gridDimY, gridDimZ},
        .block = {blockDimX, blockDimY, blockDimZ},
        .dynamic_shared_bytes = sharedMemBytes,
        .flags = TALLY_LAUNCH_COOPERATIVE,
    };
    return launch_on(per_thread, f, hStream, &launch, kernelParams, NULL);
}
