/* Address ranges that client and executor must agree on, because CUDA's unified addressing makes a
 * pinned host address and its device address one number. Sanitizers reserve most of the address space
 * for their shadow memory, so their builds use another base; the executor tells clients what it uses. */
#ifndef TALLY_ADDRESS_H
#define TALLY_ADDRESS_H

#include <stdint.h>

#if defined(__SANITIZE_THREAD__)
/* ThreadSanitizer's low application range on x86-64 ends at 512 GiB: arena and pinned memory must fit. */
#define TALLY_ARENA_BASE 0x1000000000ull
#define TALLY_TENANT_BYTES (4ull << 30)
#define TALLY_TENANTS_MAX 48u
#else
#define TALLY_ARENA_BASE 0x200000000000ull
#define TALLY_TENANT_BYTES (64ull << 30)
#define TALLY_TENANTS_MAX 128u
#endif

/* softgpu's device memory: one equally large region per tenant. */
#define TALLY_ARENA_BYTES (TALLY_TENANT_BYTES * TALLY_TENANTS_MAX)
/* Pinned host memory: right behind, again one region per session. */
#define TALLY_PINNED_BASE (TALLY_ARENA_BASE + TALLY_ARENA_BYTES)

#endif
