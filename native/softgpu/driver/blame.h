/* What a tenant's fault was, in words: the kernel, the block and the address. */
#ifndef TALLY_SOFTGPU_BLAME_H
#define TALLY_SOFTGPU_BLAME_H

#include "../exec.h"

struct soft_tenant;

#define SOFT_BLAME_BYTES 512u

struct soft_blame {
    _Atomic int state; /* see blame.c */
    char text[SOFT_BLAME_BYTES];
};

/* Of blocks that fault at once the first one is remembered. Before soft_tenant_fail makes the fault
 * known. */
void soft_blame_kernel(struct soft_tenant *tenant, const struct soft_launch *launch, uint64_t block,
                       const struct soft_outcome *outcome);
void soft_blame_clear(struct soft_tenant *tenant); /* of a tenant that has nothing running */

#endif
