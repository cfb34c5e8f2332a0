/* Kernel launches. op_launch checks a launch and makes it whole; submit_launch is where a scheduler
 * decides when and how it reaches the device. */
#include <string.h>

#include "engine/session.h"
#include "engine/timing.h"

enum attribute_rule attribute_rule(CUlaunchAttributeID id)
{
    switch (id) {
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
    case CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP:
    case CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
    case CU_LAUNCH_ATTRIBUTE_NVLINK_UTIL_CENTRIC_SCHEDULING:
        return ATTRIBUTE_PASS;
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW: /* a hint, with an address */
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:             /* priorities are Tally's to give */
        return ATTRIBUTE_DROP;
    default:
        return ATTRIBUTE_REFUSE;
    }
}

static bool read_attributes(struct launch *launch, struct tally_reader *tail, uint32_t count, CUresult *result)
{
    for (uint32_t i = 0; i < count; i++) {
        CUlaunchAttribute attribute;
        if (!tally_reader_copy(tail, &attribute, sizeof attribute))
            return false;
        enum attribute_rule rule = attribute_rule(attribute.id);
        if (rule == ATTRIBUTE_PASS)
            launch->attributes[launch->attribute_count++] = attribute;
        else if (rule == ATTRIBUTE_REFUSE)
            *result = CUDA_ERROR_NOT_SUPPORTED;
    }
    return true;
}

static CUresult start(struct session *session, const struct launch *launch, void **params, void **extra)
{
    const struct tally_driver *cu = &session->driver->cu;
    const uint32_t *grid = launch->grid, *block = launch->block;
    if (launch->attribute_count == 0)
        return cu->cuLaunchKernel(launch->function->driver, grid[0], grid[1], grid[2], block[0], block[1], block[2],
                                  launch->dynamic_shared_bytes, launch->stream->driver, params, extra);
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
    return cu->cuLaunchKernelEx(&config, launch->function->driver, params, extra);
}

CUresult submit_launch(struct session *session, const struct launch *launch)
{
    const struct function *function = launch->function;
    void *params[TALLY_PARAMS_MAX];
    size_t bytes = launch->param_bytes;
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)launch->params, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                     CU_LAUNCH_PARAM_END};
    for (uint32_t i = 0; i < function->param_count; i++)
        params[i] = (void *)(launch->params + function->params[i].offset);
    struct timing_sample *sample = timing_begin(session, launch);
    CUresult result = function->params_known ? start(session, launch, params, NULL) : start(session, launch, NULL, extra);
    timing_end(session, launch, sample, result);
    return result;
}

static CUresult launch_checked(struct session *session, struct launch *launch)
{
    if (!launch->function || !launch->stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (launch->function->params_known && launch->param_bytes < launch->function->param_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = stream_enter(session, launch->stream);
    if (result == CUDA_SUCCESS)
        result = submit_launch(session, launch);
    if (result == CUDA_SUCCESS)
        tally_stats_add(&session->stats, TALLY_COUNT_LAUNCHES, 1);
    return result;
}

bool op_launch(struct session *session, const struct message *message)
{
    struct tally_op_launch op;
    struct tally_reader tail;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, &tail) ||
        op.attribute_count > TALLY_ATTRIBUTES_MAX || op.param_bytes > TALLY_PARAM_BYTES_MAX ||
        op.flags & ~(uint32_t)TALLY_LAUNCH_COOPERATIVE)
        return false;
    CUlaunchAttribute attributes[TALLY_ATTRIBUTES_MAX + 1];
    struct launch launch = {
        .attributes = attributes,
        .function = table_get(&session->functions, op.function),
        .stream = stream_find(session, op.stream),
        .grid = {op.grid[0], op.grid[1], op.grid[2]},
        .block = {op.block[0], op.block[1], op.block[2]},
        .dynamic_shared_bytes = op.dynamic_shared_bytes,
        .param_bytes = op.param_bytes,
        .arrived_ns = message->arrived_ns,
    };
    CUresult result = CUDA_SUCCESS;
    if (!read_attributes(&launch, &tail, op.attribute_count, &result))
        return false;
    launch.params = tally_reader_take(&tail, op.param_bytes);
    if (!tally_reader_end(&tail))
        return false;
    if (op.flags & TALLY_LAUNCH_COOPERATIVE)
        attributes[launch.attribute_count++] =
            (CUlaunchAttribute){.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE, .value.cooperative = 1};
    session_finish(session, &op.op, result == CUDA_SUCCESS ? launch_checked(session, &launch) : result);
    return true;
}
