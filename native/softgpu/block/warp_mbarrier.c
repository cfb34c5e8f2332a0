/* mbarrier objects: 64 bits of shared memory, whose layout is ours.
 *
 * Bits 0-19: arrivals that a phase takes; 20-39: those it still waits for; 40-63: the phase's
 * number. A block's warps run on one thread, one at a time: plain loads and stores do. */
#include "block.h"

#define COUNT_MASK 0xfffffull
#define PENDING_AT 20
#define PHASE_AT 40

enum what { INIT, INVAL, ARRIVE, DROP, TEST, PARITY };

static uint64_t arrive(struct soft_warp *warp, uint64_t *word, uint64_t count, bool drop)
{
    uint64_t state = *word, pending = state >> PENDING_AT & COUNT_MASK,
             expected = state & COUNT_MASK;
    uint64_t phase = state >> PHASE_AT;
    if (!count || count > pending)
        soft_raise(warp->worker, CUDA_ERROR_LAUNCH_FAILED, 0);
    if (drop)
        expected -= count < expected ? count : expected;
    pending -= count;
    if (!pending) {
        phase++;
        pending = expected;
    }
    *word = phase << PHASE_AT | pending << PENDING_AT | expected;
    return state;
}

static uint64_t one(struct soft_warp *warp, enum what what, uint64_t *word, uint64_t operand)
{
    uint64_t phase = *word >> PHASE_AT;
    switch (what) {
    case INIT:
        if (!operand || operand > COUNT_MASK)
            soft_raise(warp->worker, CUDA_ERROR_LAUNCH_FAILED, 0);
        *word = operand << PENDING_AT | operand;
        return 0;
    case INVAL:
        return 0;
    case ARRIVE:
    case DROP:
        return arrive(warp, word, operand, what == DROP);
    case TEST:
        return phase != operand >> PHASE_AT;
    case PARITY:
        return (phase & 1) != (operand & 1);
    }
    return 0;
}

/* code: enum what, and the space << 8. */
void soft_help_mbarrier(struct soft_warp *warp, uint32_t mask, uint32_t code,
                        const uint64_t *address, const uint64_t *operand, uint64_t *out)
{
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++) {
        if (!(mask >> lane & 1))
            continue;
        uint64_t *word = soft_help_access(warp, address[lane], 8, code >> 8);
        out[lane] = one(warp, code & 255, word, operand[lane]);
    }
}
