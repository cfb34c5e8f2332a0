#include "engine/launch/residency.h"

#include "engine/code/function.h"
#include "engine/launch/launch.h"
#include "engine/parts.h"
#include "engine/session/session.h"

#define THREADS_MAX 4096u /* of a block: no device has as many */

static uint32_t ask(const struct launch *launch, uint64_t threads)
{
    const struct tally_driver *cu = &launch->session->driver->cu;
    int blocks = 0;
    if (!cu->cuOccupancyMaxActiveBlocksPerMultiprocessor || threads == 0 || threads > THREADS_MAX)
        return 0;
    CUresult result = cu->cuOccupancyMaxActiveBlocksPerMultiprocessor(
        &blocks, launch->function->driver, (int)threads, launch->dynamic_shared_bytes);
    return result == CUDA_SUCCESS && blocks > 0 ? (uint32_t)blocks : 0;
}

uint32_t residency_per_multiprocessor(const struct launch *launch)
{
    struct residency *known = &launch->function->residency;
    uint64_t threads = (uint64_t)launch->block[0] * launch->block[1] * launch->block[2];
    if (!known->asked || known->threads != threads ||
        known->dynamic_shared_bytes != launch->dynamic_shared_bytes)
        *known = (struct residency){.asked = true,
                                    .threads = threads,
                                    .dynamic_shared_bytes = launch->dynamic_shared_bytes,
                                    .blocks = ask(launch, threads)};
    return known->blocks;
}

uint32_t residency_of(const struct launch *launch)
{
    uint64_t blocks = residency_per_multiprocessor(launch);
    blocks *= engine_multiprocessors(launch->session->engine);
    return blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
}
