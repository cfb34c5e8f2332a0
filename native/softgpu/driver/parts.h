/* What a worker does with an op of which it has claimed a part (worker.c). */
#ifndef TALLY_SOFTGPU_PARTS_H
#define TALLY_SOFTGPU_PARTS_H

#include "queue.h"

/* Without the end of a block for so long, the blocks that wait are not enough to go on with. */
#define SOFT_STALL_NS 20000000

static inline void soft_resume_later(struct soft_op *op, uint64_t now_ns)
{
    atomic_store_explicit(&op->resume_ns, now_ns + SOFT_STALL_NS, memory_order_relaxed);
}

struct soft_stint {
    uint64_t parts;
    CUresult error;
};

/* Runs the claimed part, then more of the same op while nothing more urgent is ready. */
struct soft_stint soft_stint_run(struct soft_worker *worker, struct soft_op *op, uint64_t part);

/* Under the lock: hands the stint in. The op may be gone afterwards. */
void soft_stint_end(struct soft_op *op, struct soft_stint stint);

#endif
