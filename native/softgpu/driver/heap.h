/* The heap of a tenant's kernels: what their malloc gives and their free takes back. */
#ifndef TALLY_SOFTGPU_HEAP_H
#define TALLY_SOFTGPU_HEAP_H

#include "soft.h"

/* The tenant's memory has been given back, and its heap with it. */
void soft_heap_forget(struct soft_tenant *tenant);
/* Whether it has been used: its size is settled then. */
bool soft_heap_used(const struct soft_tenant *tenant);

#endif
