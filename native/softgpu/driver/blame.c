#include "blame.h"

#include <stdio.h>
#include <string.h>

#include "soft.h"

/* NONE -> WRITING -> READY; whoever takes it to WRITING writes, nobody reads before READY. */
enum { NONE, WRITING, READY };

static const char *name_of(CUresult error)
{
    const char *name;
    return cuGetErrorName(error, &name) == CUDA_SUCCESS ? name : "a fault";
}

void soft_blame_kernel(struct soft_tenant *tenant, const struct soft_launch *launch, uint64_t block,
                       const struct soft_outcome *outcome)
{
    struct soft_blame *blame = &tenant->blame;
    int none = NONE;
    if (!atomic_compare_exchange_strong(&blame->state, &none, WRITING))
        return;
    uint64_t plane = (uint64_t)launch->grid[0] * launch->grid[1];
    char place[64] = "";
    if (outcome->error == CUDA_ERROR_ILLEGAL_ADDRESS)
        snprintf(place, sizeof place, " at address 0x%llx", (unsigned long long)outcome->address);
    snprintf(blame->text, sizeof blame->text,
             "%s (%d) in kernel %.320s, block (%llu, %llu, %llu)%s", name_of(outcome->error),
             (int)outcome->error, launch->kernel->name,
             (unsigned long long)(block % launch->grid[0]),
             (unsigned long long)(block % plane / launch->grid[0]),
             (unsigned long long)(block / plane), place);
    atomic_store_explicit(&blame->state, READY, memory_order_release);
}

void soft_blame_clear(struct soft_tenant *tenant) { atomic_store(&tenant->blame.state, NONE); }

SOFT_API CUresult softgpuTenantFault(uint32_t id, char *text, size_t bytes)
{
    if (id >= TALLY_TENANTS_MAX || !text || !bytes)
        return CUDA_ERROR_INVALID_VALUE;
    const struct soft_blame *blame = &soft.tenants[id].blame;
    bool ready = atomic_load_explicit(&blame->state, memory_order_acquire) == READY;
    snprintf(text, bytes, "%s", ready ? blame->text : "");
    return CUDA_SUCCESS;
}
