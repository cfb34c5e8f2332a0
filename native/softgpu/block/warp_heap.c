/* malloc and free of device code. */
#include "block.h"

/* The upper side takes locks: no interrupt may leave it there. */
void soft_help_malloc(struct soft_warp *warp, uint32_t mask, const uint64_t *bytes, uint64_t *out)
{
    warp->worker->critical = 1;
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++)
        out[lane] = mask >> lane & 1 ? soft_heap_alloc(warp->launch->tenant, bytes[lane]) : 0;
    warp->worker->critical = 0;
}

void soft_help_free(struct soft_warp *warp, uint32_t mask, const uint64_t *address)
{
    bool good = true;
    warp->worker->critical = 1;
    for (uint32_t lane = 0; lane < SOFT_LANES; lane++)
        if (mask >> lane & 1 && address[lane])
            good = soft_heap_free(warp->launch->tenant, address[lane]) && good;
    warp->worker->critical = 0;
    if (!good)
        soft_raise(warp->worker, CUDA_ERROR_LAUNCH_FAILED, 0);
}
