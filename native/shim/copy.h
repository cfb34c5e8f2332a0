/* Copies between device, pinned and pageable memory; one engine for every form of the API. */
#ifndef TALLY_SHIM_COPY_H
#define TALLY_SHIM_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "streams.h"

/* What the API's parameter claims to be; SHIM_SIDE_ANY: unified, the address tells. */
enum shim_side_claim { SHIM_SIDE_ANY, SHIM_SIDE_DEVICE, SHIM_SIDE_HOST };

struct shim_side {
    uint64_t address; /* of the first byte */
    uint64_t pitch;   /* bytes from row to row */
    uint64_t slice;   /* bytes from slice to slice */
    enum shim_side_claim claim;
};

struct shim_box {
    uint64_t width, height, depth; /* bytes, rows, slices */
};

/* Copies a box in the order of the stream. `sync`: as cuMemcpy*, else as cuMemcpy*Async. Pageable
 * memory on either side makes the call return only when that memory may be used again.
 * CUDA_ERROR_INVALID_VALUE where a device or pinned side does not lie in one allocation. */
CUresult shim_copy(const struct shim_stream_ref *ref, struct shim_side dst, struct shim_side src,
                   struct shim_box box, bool sync);

/* The same where device memory of either side is not the stream's device's. A side's channel is
 * NULL where this process has the memory. */
CUresult shim_copy_across(const struct shim_stream_ref *ref, struct shim_side dst,
                          struct shim_channel *dst_channel, struct shim_side src,
                          struct shim_channel *src_channel, struct shim_box box);

/* One row: `bytes` bytes. */
CUresult shim_copy_linear(const struct shim_stream_ref *ref, uint64_t dst,
                          enum shim_side_claim dst_claim, uint64_t src,
                          enum shim_side_claim src_claim, uint64_t bytes, bool sync);

#endif
