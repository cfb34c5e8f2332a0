/* When a start ran, as the driver reports it or as an event behind it tells. */
#ifndef TALLY_ENGINE_TIMES_H
#define TALLY_ENGINE_TIMES_H

#include <stdint.h>

struct launch_times {
    uint64_t tag; /* of a start (books.h) or of counted work (work.h) */
    /* First block's start, last block's end; CLOCK_MONOTONIC. */
    uint64_t start_ns, end_ns;
    uint64_t active_ns; /* of it, how long at least one block ran */
    /* When its last running block first gave way to more urgent work; 0: never, or not known. */
    uint64_t yielded_ns;
    uint64_t busy_ns, blocks; /* summed over blocks, and their number; 0: not known */
    uint32_t tenant;          /* whose it was, for the driver */
    int32_t error;            /* CUresult; not 0: some blocks did not run */
};

typedef void launch_done_fn(void *user, const struct launch_times *times);

#endif
