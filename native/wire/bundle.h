/* Fatbins that belong together: what a wrapper of version 2 points at, as bytes. The first one
 * holds what is linked already and may be empty; the driver links the others where the first has
 * nothing for the device. */
#ifndef TALLY_WIRE_BUNDLE_H
#define TALLY_WIRE_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/fatbin.h"

#define TALLY_BUNDLE_MAGIC 0x4b4e4c54u /* "TLNK" */
#define TALLY_BUNDLE_FATBINS_MAX 4096u

/* Followed by count sizes of 8 bytes, then by the fatbins, each beginning at a multiple of 8. */
struct tally_bundle {
    uint32_t magic;
    uint32_t count; /* 1 to TALLY_BUNDLE_FATBINS_MAX */
};

/* `fatbins[i]` of `bytes[i]` bytes each as one bundle, malloc'ed; NULL: short of memory. */
uint8_t *tally_bundle_make(const void *const *fatbins, const size_t *bytes, uint32_t count,
                           size_t *total);

/* Whether the bytes begin like a bundle. */
bool tally_is_bundle(const void *bytes, size_t count);

/* The i-th fatbin and its size; NULL where the bundle is not whole, or has no such. */
const uint8_t *tally_bundle_at(const void *bytes, size_t count, uint32_t i, size_t *fatbin_bytes);
uint32_t tally_bundle_count(const void *bytes, size_t count); /* 0: not whole */

#endif
