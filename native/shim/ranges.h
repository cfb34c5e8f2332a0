/* What the client knows of addresses: an ordered table of allocations, so that bad addresses and
 * double frees are told at once, and unified addressing can tell device from pinned from pageable.
 */
#ifndef TALLY_SHIM_RANGES_H
#define TALLY_SHIM_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"

struct shim_context;

enum shim_range_kind {
    SHIM_RANGE_DEVICE = 1, /* cuMemAlloc */
    SHIM_RANGE_GLOBAL,     /* a module's variable */
    SHIM_RANGE_PINNED,     /* cuMemHostAlloc: both sides map it at the same address */
};

struct shim_range {
    uint64_t base, bytes;
    enum shim_range_kind kind;
    uint32_t flags;       /* as the allocating call was given */
    uint32_t sync_memops; /* CU_POINTER_ATTRIBUTE_SYNC_MEMOPS */
    uint64_t id;          /* unique in the process; set by shim_range_add */
    struct shim_channel *channel;
    struct shim_context *context;
};

/* CUDA_ERROR_OUT_OF_MEMORY, or CUDA_ERROR_ALREADY_MAPPED where it overlaps a range in the table. */
CUresult shim_range_add(struct shim_range range);

/* The range that holds `address`, copied out; false if there is none. */
bool shim_range_find(uint64_t address, struct shim_range *out);

/* Takes out the range that starts at `base` and is of this kind. */
bool shim_range_remove(uint64_t base, enum shim_range_kind kind, struct shim_range *out);

/* Takes out any one range of a context that is not a GLOBAL; false when none is left. */
bool shim_range_remove_any(const struct shim_context *context, struct shim_range *out);

/* CU_POINTER_ATTRIBUTE_SYNC_MEMOPS of the range that holds `address`. */
bool shim_range_set_sync(uint64_t address, uint32_t sync_memops);

#endif
