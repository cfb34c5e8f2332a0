#include "engine/launch/start.h"

#include <string.h>

#include "engine/code/function.h"
#include "engine/launch/completion.h"
#include "engine/launch/control.h"
#include "engine/launch/launch.h"
#include "engine/launch/timing.h"
#include "engine/launch/transfer_run.h"
#include "engine/session/session.h"
#include "engine/streams/stream.h"

/* What goes to the driver: the launch as it came, or a variant of its kernel with one parameter
 * more. */
struct shape {
    CUfunction function;
    uint32_t grid[3];
    const uint8_t *params;
    size_t param_bytes;
    const struct function *layout;
};

static CUresult start(struct session *session, const struct launch *launch,
                      const struct shape *shape)
{
    const struct tally_driver *cu = &session->driver->cu;
    const uint32_t *grid = shape->grid, *block = launch->block;
    size_t bytes = shape->param_bytes;
    void *params[TALLY_PARAMS_MAX + 1];
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)shape->params,
                     CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
    bool known = shape->layout->params_known;
    for (uint32_t i = 0; known && i < shape->layout->param_count; i++)
        params[i] = (void *)(shape->params + shape->layout->params[i].offset);
    if (launch->attribute_count == 0)
        return cu->cuLaunchKernel(shape->function, grid[0], grid[1], grid[2], block[0], block[1],
                                  block[2], launch->dynamic_shared_bytes, launch->stream->driver,
                                  known ? params : NULL, known ? NULL : extra);
    if (!cu->cuLaunchKernelEx)
        return CUDA_ERROR_NOT_SUPPORTED;
    CUlaunchConfig config = {
        .gridDimX = grid[0],
        .gridDimY = grid[1],
        .gridDimZ = grid[2],
        .blockDimX = block[0],
        .blockDimY = block[1],
        .blockDimZ = block[2],
        .sharedMemBytes = launch->dynamic_shared_bytes,
        .hStream = launch->stream->driver,
        .attrs = launch->attributes,
        .numAttrs = launch->attribute_count,
    };
    return cu->cuLaunchKernelEx(&config, shape->function, known ? params : NULL,
                                known ? NULL : extra);
}

/* The variant's last parameter is ours; the program's own come before it, laid out as they were. */
static CUresult start_variant(struct session *session, const struct launch *launch,
                              struct function *variant, const uint32_t grid[3], const void *value,
                              size_t value_bytes)
{
    _Alignas(16) uint8_t params[TALLY_PARAM_BYTES_MAX + 64];
    uint32_t offset = variant->params[variant->param_count - 1].offset;
    memcpy(params, launch->params, launch->param_bytes < offset ? launch->param_bytes : offset);
    memcpy(params + offset, value, value_bytes);
    if (launch->dynamic_shared_bytes > variant->dynamic_shared_bytes) {
        session->driver->cu.cuFuncSetAttribute(variant->driver,
                                               CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                               (int)launch->dynamic_shared_bytes);
        variant->dynamic_shared_bytes = launch->dynamic_shared_bytes;
    }
    struct shape shape = {.function = variant->driver,
                          .grid = {grid[0], grid[1], grid[2]},
                          .params = params,
                          .param_bytes = offset + value_bytes,
                          .layout = variant};
    return start(session, launch, &shape);
}

static CUresult start_form(struct session *session, const struct launch *launch,
                           enum launch_form form, uint32_t lo, uint32_t hi)
{
    struct function *function = launch->function;
    if (form == LAUNCH_GUARDED)
        return start_variant(session, launch, function->guarded, launch->grid,
                             &(CUdeviceptr){control_address(session, launch->slot)},
                             sizeof(CUdeviceptr));
    if (form == LAUNCH_SUBGRID)
        return start_variant(session, launch, function->subgrid, (uint32_t[3]){hi - lo, 1, 1},
                             (uint32_t[4]){lo, launch->grid[0], launch->grid[1], launch->grid[2]},
                             16);
    struct shape shape = {.function = function->driver,
                          .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
                          .params = launch->params,
                          .param_bytes = launch->param_bytes,
                          .layout = function};
    return start(session, launch, &shape);
}

CUresult launch_range(struct session *session, const struct launch *launch, enum launch_form form,
                      uint32_t lo, uint32_t hi, uint64_t tag)
{
    if (launch->transfer)
        return transfer_run(session, launch->stream, launch->transfer, lo, hi, tag);
    struct timing_sample *sample = timing_begin(session, launch, tag);
    CUresult result = start_form(session, launch, form, lo, hi);
    timing_end(session, launch, sample, result);
    if (result == CUDA_SUCCESS && tag && !timing_is_reported(session))
        result = completion_add(session, launch->stream, launch->slot, form, tag);
    return result;
}
