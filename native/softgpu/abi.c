/* The table of what compiled code may call, and a description of the layout that the compiler checks. */
#include <stdio.h>
#include <time.h>

#include "block.h"

const void *const soft_helpers[] = {
    (const void *)soft_help_access, (const void *)soft_help_load,  (const void *)soft_help_store,
    (const void *)soft_help_atom,   (const void *)soft_help_barrier, (const void *)soft_help_trap,
    (const void *)soft_help_yield,  (const void *)soft_help_print, (const void *)soft_help_assert,
    (const void *)soft_help_round,  (const void *)soft_help_divide, (const void *)soft_help_clock,
    (const void *)soft_help_mma,    (const void *)soft_help_ldmatrix,
    (const void *)soft_help_fragment, (const void *)soft_help_wmma, (const void *)soft_help_mbarrier,
    (const void *)soft_help_malloc, (const void *)soft_help_free,
};

_Noreturn void soft_help_trap(struct soft_warp *warp, uint32_t error) { soft_raise(warp->worker, (CUresult)error, 0); }

void soft_help_yield(struct soft_warp *warp, uint64_t seen) { soft_pause(warp, seen); }

/* 0: a cycle counter that only grows (nanoseconds do); 1: %globaltimer. */
uint64_t soft_help_clock(uint32_t what) {
    struct timespec now;
    clock_gettime(what ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#define FIELD(name) #name "=%zu "
/* The layout in words, to be compared with what the compiler assumes. */
__attribute__((visibility("default"))) const char *softgpuAbi(void) {
    static char text[1024];
    snprintf(text, sizeof text,
             "helpers=%zu " FIELD(params) FIELD(globals) FIELD(shared) FIELD(region_base) FIELD(region_limit)
                 FIELD(local_base) FIELD(local_bytes) "helpers_at=%zu " FIELD(mask) FIELD(index) FIELD(ctaid)
                     FIELD(ntid) FIELD(nctaid) FIELD(tid) FIELD(lanes) FIELD(dynamic_shared) FIELD(total_shared)
                         FIELD(sm) FIELD(warp_count) FIELD(grid_id) FIELD(workspace) "entry=%zu kernel=%zu",
             sizeof soft_helpers / sizeof soft_helpers[0], offsetof(struct soft_warp, params),
             offsetof(struct soft_warp, globals), offsetof(struct soft_warp, shared),
             offsetof(struct soft_warp, region_base), offsetof(struct soft_warp, region_limit),
             offsetof(struct soft_warp, local_base), offsetof(struct soft_warp, local_bytes),
             offsetof(struct soft_warp, helpers), offsetof(struct soft_warp, mask), offsetof(struct soft_warp, index),
             offsetof(struct soft_warp, ctaid), offsetof(struct soft_warp, ntid), offsetof(struct soft_warp, nctaid),
             offsetof(struct soft_warp, tid), offsetof(struct soft_warp, lanes),
             offsetof(struct soft_warp, dynamic_shared), offsetof(struct soft_warp, total_shared),
             offsetof(struct soft_warp, sm), offsetof(struct soft_warp, warp_count),
             offsetof(struct soft_warp, grid_id), offsetof(struct soft_warp, workspace), sizeof(struct soft_entry), sizeof(struct soft_kernel));
    return text;
}
