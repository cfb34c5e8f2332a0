#include "engine/launch/launch.h"

#include "engine/code/function.h"
#include "engine/launch/at_once.h"
#include "engine/launch/books.h"
#include "engine/launch/gate_submit.h"
#include "engine/launch/kernels.h"
#include "engine/launch/residency.h"
#include "engine/launch/settings.h"
#include "engine/launch/start.h"
#include "engine/launch/trace.h"
#include "engine/launch/transfer.h"
#include "engine/launch/turns.h"
#include "engine/launch/work.h"
#include "engine/session/session.h"
#include "engine/streams/stream.h"

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
    if (countable && launch->attribute_count == 0 && function->params_known &&
        !function->settings.clusters)
        launch->abilities = (function->guarded ? TALLY_PLAN_CAN_GUARD : 0u) |
                            (function->subgrid ? TALLY_PLAN_CAN_SLICE : 0u);
    if (launch->abilities && !launch->session->config.high)
        launch->resident = residency_of(launch);
    uint64_t hash = function->code;
    const uint32_t parts[] = {launch->grid[0],
                              launch->grid[1],
                              launch->grid[2],
                              launch->block[0],
                              launch->block[1],
                              launch->block[2],
                              launch->dynamic_shared_bytes};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        hash = (hash ^ parts[i]) * 0x9e3779b97f4a7c15ull, hash ^= hash >> 29;
    launch->signature = hash;
}

/* Behind what the session has let go, beside whoever has the device (meeting.h). */
static CUresult submit_meeting(struct session *session, struct launch *launch)
{
    schedule_settle(session);
    CUresult result = launch_range(session, launch, LAUNCH_WHOLE, 0, launch->blocks, 0);
    if (result == CUDA_SUCCESS && trace_is_on(&session->engine->trace))
        launch_trace_untimed(launch);
    return result;
}

/* High: at once, whole, and seen while it is with the device. */
static CUresult submit_transfer_high(struct session *session, struct launch *launch)
{
    uint64_t tag = work_begin(session, WORK_TRANSFER);
    CUresult result = launch_range(session, launch, LAUNCH_WHOLE, 0, launch->blocks, tag);
    if (result != CUDA_SUCCESS)
        work_end(session, tag, 1, 0);
    return result;
}

static CUresult submit_transfer(struct session *session, struct launch *launch)
{
    launch->blocks = transfer_blocks(launch->transfer);
    if (session->config.high)
        return submit_transfer_high(session, launch);
    return gates_are_wanted(session) ? gate_submit(session, launch)
                                     : schedule_launch(session, launch);
}

static bool is_sound(const struct launch *launch)
{
    return !launch->function->params_known || launch->param_bytes >= launch->function->param_bytes;
}

static CUresult submit_kernel(struct session *session, struct launch *launch)
{
    if (!is_sound(launch))
        return CUDA_ERROR_INVALID_VALUE;
    schedule_make_way(session, launch);
    CUresult result = stream_enter(session, launch->stream);
    describe(launch);
    if (!session->config.high ||
        trace_is_on(&session->engine->trace)) /* a high kernel's plan is nobody's business */
        kernels_note(session->engine->kernels, launch);
    if (result == CUDA_SUCCESS && launch->blocks == 0)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    if (gates_are_wanted(session))
        return gate_submit(session, launch);
    if (launch->function->meets)
        return submit_meeting(session, launch);
    bool at_once = session->config.high && schedule_high_at_once(session->engine->schedule);
    return at_once ? launch_at_once(session, launch) : schedule_launch(session, launch);
}

CUresult launch_submit(struct session *session, struct launch *launch)
{
    if (launch->transfer)
        return submit_transfer(session, launch);
    CUresult result = submit_kernel(session, launch);
    if (result != CUDA_SUCCESS)
        return result;
    tally_stats_add(&session->stats, TALLY_COUNT_LAUNCHES, 1);
    if (launch_is_stoppable(launch))
        tally_stats_add(&session->stats, TALLY_COUNT_LAUNCHES_STOPPABLE, 1);
    return result;
}
