/* Address ranges that client and executor must agree on, because CUDA's unified addressing makes a
 * pinned host address and its device address one number. A program may use several devices, each
 * with an executor of its own: each device has its own part of the address space. */
#ifndef TALLY_ADDRESS_H
#define TALLY_ADDRESS_H

#include <stdint.h>

/* Sanitizers reserve most of the address space for their shadow memory, so their builds use other
 * parts; a shim learns from the executor where its memory is. */
#if defined(TALLY_SANITIZE_THREAD)
/* ThreadSanitizer's low application range on x86-64 ends at 512 GiB: all parts must fit. */
#define TALLY_PARTS_BASE 0x1000000000ull
#define TALLY_PARTS_MAX 2u
#define TALLY_TENANTS_MAX 48u
#define TALLY_TENANT_BYTES (2ull << 30)
#define TALLY_PINNED_BYTES (2ull << 30)
#else
/* Above AddressSanitizer's shadow, below where Linux puts programs (85 TiB on x86-64). */
#define TALLY_PARTS_BASE 0x110000000000ull
#define TALLY_PARTS_MAX 8u
#define TALLY_TENANTS_MAX 128u
#define TALLY_TENANT_BYTES (16ull << 30)
#define TALLY_PINNED_BYTES (48ull << 30)
#endif

/* More devices than parts share them; a program that uses two of one part may run out of addresses.
 */
#define TALLY_PART_BYTES ((TALLY_TENANT_BYTES + TALLY_PINNED_BYTES) * TALLY_TENANTS_MAX)
#define TALLY_PART_BASE(device) (TALLY_PARTS_BASE + (device) % TALLY_PARTS_MAX * TALLY_PART_BYTES)

/* First in a part: softgpu's device memory, one equally large region per tenant. */
#define TALLY_ARENA_BASE(device) TALLY_PART_BASE(device)
#define TALLY_ARENA_BYTES (TALLY_TENANT_BYTES * TALLY_TENANTS_MAX)
/* Pinned host memory: right behind, again one region per session. */
#define TALLY_PINNED_BASE(device) (TALLY_ARENA_BASE(device) + TALLY_ARENA_BYTES)

#endif
