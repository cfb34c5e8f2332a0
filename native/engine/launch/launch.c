/* Kernel launches: checked and made whole by op_launch, given to the scheduler, and taken to the device by
 * launch_range when, and in the parts that, the scheduler says. */
#include <string.h>

#include "engine/launch/gate.h"
#include "engine/launch/kernels.h"
#include "engine/launch/residency.h"
#include "engine/launch/schedule.h"
#include "engine/launch/timing.h"
#include "engine/launch/trace.h"
#include "engine/launch/transfer.h"

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

/* What goes to the driver: the launch as it came, or a variant of its kernel with one parameter more. */
struct shape {
    CUfunction function;
    uint32_t grid[3];
    const uint8_t *params;
    size_t param_bytes;
    const struct function *layout;
};

static CUresult start(struct session *session, const struct launch *launch, const struct shape *shape)
{
    const struct tally_driver *cu = &session->driver->cu;
    const uint32_t *grid = shape->grid, *block = launch->block;
    size_t bytes = shape->param_bytes;
    void *params[TALLY_PARAMS_MAX + 1];
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, (void *)shape->params, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
                     CU_LAUNCH_PARAM_END};
    bool known = shape->layout->params_known;
    for (uint32_t i = 0; known && i < shape->layout->param_count; i++)
        params[i] = (void *)(shape->params + shape->layout->params[i].offset);
    if (launch->attribute_count == 0)
        return cu->cuLaunchKernel(shape->function, grid[0], grid[1], grid[2], block[0], block[1], block[2],
                                  launch->dynamic_shared_bytes, launch->stream->driver, known ? params : NULL,
                                  known ? NULL : extra);
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
    return cu->cuLaunchKernelEx(&config, shape->function, known ? params : NULL, known ? NULL : extra);
}

/* The variant's last parameter is ours; the program's own come before it, laid out as they were. */
static CUresult start_variant(struct session *session, const struct launch *launch, struct function *variant,
                              const uint32_t grid[3], const void *value, size_t value_bytes)
{
    _Alignas(16) uint8_t params[TALLY_PARAM_BYTES_MAX + 64];
    uint32_t offset = variant->params[variant->param_count - 1].offset;
    memcpy(params, launch->params, launch->param_bytes < offset ? launch->param_bytes : offset);
    memcpy(params + offset, value, value_bytes);
    if (launch->dynamic_shared_bytes > variant->dynamic_shared_bytes) {
        session->driver->cu.cuFuncSetAttribute(variant->driver, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                               (int)launch->dynamic_shared_bytes);
        variant->dynamic_shared_bytes = launch->dynamic_shared_bytes;
    }
    struct shape shape = {.function = variant->driver, .grid = {grid[0], grid[1], grid[2]}, .params = params,
                          .param_bytes = offset + value_bytes, .layout = variant};
    return start(session, launch, &shape);
}

static CUresult start_form(struct session *session, const struct launch *launch, enum launch_form form, uint32_t lo,
                           uint32_t hi)
{
    struct function *function = launch->function;
    if (form == LAUNCH_GUARDED)
        return start_variant(session, launch, function->guarded, launch->grid,
                             &session->control[launch->slot].address, sizeof(CUdeviceptr));
    if (form == LAUNCH_SUBGRID)
        return start_variant(session, launch, function->subgrid, (uint32_t[3]){hi - lo, 1, 1},
                             (uint32_t[4]){lo, launch->grid[0], launch->grid[1], launch->grid[2]}, 16);
    struct shape shape = {.function = function->driver, .grid = {launch->grid[0], launch->grid[1], launch->grid[2]},
                          .params = launch->params, .param_bytes = launch->param_bytes, .layout = function};
    return start(session, launch, &shape);
}

CUresult launch_range(struct session *session, const struct launch *launch, enum launch_form form, uint32_t lo,
                      uint32_t hi, uint64_t tag)
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

/* Grids beyond 32 bits of blocks, and launches whose blocks work together, are one piece. */
static void describe(struct launch *launch)
{
    const struct function *function = launch->function;
    if (function->forms_pending)
        function_update(launch->session, launch->function);
    uint64_t blocks = (uint64_t)launch->grid[0] * launch->grid[1];
    bool countable = blocks <= INT32_MAX && blocks * launch->grid[2] <= INT32_MAX && blocks > 0;
    launch->blocks = countable ? (uint32_t)(blocks * launch->grid[2]) : 1;
    launch->abilities = 0;
    if (countable && launch->attribute_count == 0 && function->params_known && !function->settings.clusters)
        launch->abilities = (function->guarded ? TALLY_PLAN_CAN_GUARD : 0u) |
                            (function->subgrid ? TALLY_PLAN_CAN_SLICE : 0u);
    if (launch->abilities && !launch->session->config.high)
        launch->resident = residency_of(launch);
    uint64_t hash = function->code;
    const uint32_t parts[] = {launch->grid[0],  launch->grid[1],  launch->grid[2], launch->block[0],
                              launch->block[1], launch->block[2], launch->dynamic_shared_bytes};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        hash = (hash ^ parts[i]) * 0x9e3779b97f4a7c15ull, hash ^= hash >> 29;
    launch->signature = hash;
}

bool launch_is_stoppable(const struct launch *launch)
{
    return !launch->session->config.high && (launch->abilities & TALLY_PLAN_CAN_GUARD);
}

void trace_untimed(const struct launch *launch)
{
    trace_add(engine_trace(launch->session->engine), &(struct tally_trace_record){.kind = TALLY_TRACE_LAUNCH,
                                                  .flags = TALLY_TRACE_UNTIMED,
                                                  .session = launch->session->config.session,
                                                  .signature = launch->signature,
                                                  .stream = TALLY_TRACE_NO_STREAM,
                                                  .submit_ns = launch->arrived_ns,
                                                  .issue_ns = engine_now_ns(),
                                                  .starts = 1});
}

/* Behind what the session has let go, beside whoever has the device (meeting.h). */
static CUresult launch_meeting(struct session *session, struct launch *launch)
{
    schedule_settle(session);
    CUresult result = launch_range(session, launch, LAUNCH_WHOLE, 0, launch->blocks, 0);
    if (result == CUDA_SUCCESS && trace_is_on(engine_trace(session->engine)))
        trace_untimed(launch);
    return result;
}

static CUresult launch_checked(struct session *session, struct launch *launch)
{
    if (!launch->function || !launch->stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (launch->function->params_known && launch->param_bytes < launch->function->param_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    schedule_make_way(session, launch);
    CUresult result = stream_enter(session, launch->stream);
    describe(launch);
    struct trace *trace = engine_trace(session->engine);
    if (!session->config.high || trace_is_on(trace)) /* a high kernel's plan is nobody's business */
        kernels_note(engine_kernels(session->engine), launch);
    if (result == CUDA_SUCCESS && launch->blocks == 0)
        result = CUDA_ERROR_INVALID_VALUE;
    bool meets = launch->function->meets && !gates_are_wanted(session);
    if (result == CUDA_SUCCESS && meets)
        result = launch_meeting(session, launch);
    else if (result == CUDA_SUCCESS)
        result = gates_are_wanted(session) ? gate_submit(session, launch) : schedule_launch(session, launch);
    if (result != CUDA_SUCCESS)
        return result;
    tally_stats_add(&session->stats, TALLY_COUNT_LAUNCHES, 1);
    if (launch_is_stoppable(launch))
        tally_stats_add(&session->stats, TALLY_COUNT_LAUNCHES_STOPPABLE, 1);
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
        .session = session,
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
