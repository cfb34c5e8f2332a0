/* The table of what compiled code may call, and a description of the layout that the compiler
 * checks. */
#include <stdio.h>
#include <time.h>

#include "block.h"

/* In the compiler's order (abi.py), which softgpuAbi() lets it check name by name. */
/* clang-format off */
#define HELPERS(ENTRY) \
    ENTRY(access) ENTRY(load) ENTRY(store) ENTRY(atom) ENTRY(barrier) ENTRY(trap) ENTRY(yield) \
    ENTRY(print) ENTRY(assert) ENTRY(round) ENTRY(divide) ENTRY(clock) ENTRY(mma) ENTRY(ldmatrix) \
    ENTRY(fragment) ENTRY(wmma) ENTRY(mbarrier) ENTRY(malloc) ENTRY(free)
/* clang-format on */

#define ADDRESS(name) (const void *)soft_help_##name,
const void *const soft_helpers[] = {HELPERS(ADDRESS)};

_Noreturn void soft_help_trap(struct soft_warp *warp, uint32_t error)
{
    soft_raise(warp->worker, (CUresult)error, 0);
}

void soft_help_yield(struct soft_warp *warp, uint64_t seen) { soft_pause(warp, seen); }

/* 0: a cycle counter that only grows (nanoseconds do); 1: %globaltimer. */
uint64_t soft_help_clock(uint32_t what)
{
    struct timespec now;
    clock_gettime(what ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* clang-format off */
#define FIELDS(ENTRY) \
    ENTRY(params) ENTRY(globals) ENTRY(shared) ENTRY(region_base) ENTRY(region_limit) \
    ENTRY(local_base) ENTRY(local_bytes) ENTRY(helpers_at) ENTRY(mask) ENTRY(index) ENTRY(ctaid) \
    ENTRY(ntid) ENTRY(nctaid) ENTRY(tid) ENTRY(lanes) ENTRY(dynamic_shared) ENTRY(total_shared) \
    ENTRY(sm) ENTRY(warp_count) ENTRY(grid_id) ENTRY(workspace)
/* clang-format on */

#define NAME(name) #name ","
#define FORMAT(name) " " #name "=%zu"
#define OFFSET(name) , offsetof(struct soft_warp, name)
/* The layout in words, to be compared with what the compiler assumes. */
__attribute__((visibility("default"))) const char *softgpuAbi(void)
{
    static char text[1024];
    snprintf(text, sizeof text, "entry=%zu kernel=%zu helpers=" HELPERS(NAME) FIELDS(FORMAT),
             sizeof(struct soft_entry), sizeof(struct soft_kernel) FIELDS(OFFSET));
    return text;
}
