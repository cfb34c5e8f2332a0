/* A launch: a kernel, or a copy or a fill, as a stream's next work; and the one door through which
 * it goes. */
#ifndef TALLY_ENGINE_LAUNCH_H
#define TALLY_ENGINE_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

#include "tally/cuda.h"

struct function;
struct session;
struct stream;
struct transfer;

/* Complete, and valid until launch_submit returns: what is to last longer is copied (open.c). */
struct launch {
    struct session *session;
    const struct transfer
        *transfer; /* a copy or a fill instead of a kernel (transfer.h); or NULL */
    struct function *function;
    struct stream *stream;
    uint32_t grid[3], block[3];
    uint32_t dynamic_shared_bytes;
    uint32_t attribute_count;
    CUlaunchAttribute *attributes;
    const uint8_t *params;
    uint32_t param_bytes;
    uint64_t arrived_ns;
    uint64_t signature;
    uint32_t blocks;    /* 1 where the grid is one piece */
    uint32_t abilities; /* enum tally_plan_ability */
    uint32_t resident;  /* blocks that the device holds at once; 0: not known */
    uint32_t slot;      /* of its control block, where it is started guarded */
};

/* Gives the stream the launch, as the policy wants it: checks it against its function, fills in the
 * rest from `signature` on. Session thread; returns when it is with the device to its end, has all
 * been run, or can be stopped and runs. */
CUresult launch_submit(struct session *session, struct launch *launch);

#endif
