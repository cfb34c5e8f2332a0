/* Copies and fills as work of the device: in one piece for high, in turn and in pieces for others.
 * Their addresses have been checked (copy.c). */
#ifndef TALLY_ENGINE_TRANSFER_H
#define TALLY_ENGINE_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "tally/cuda.h"
#include "tally/rates.h"

struct session;
struct stream;

/* One end of a copy: where it is for the driver, and how its box lies there. */
struct transfer_end {
    bool host; /* the executor's address, in slots or a message or pinned memory; else a device's */
    uint64_t address;
    uint64_t pitch, slice; /* bytes from row to row, from slice to slice */
};

struct transfer {
    enum tally_transfer_kind kind;
    struct transfer_end dst, src;   /* a fill has no source */
    uint64_t width, height, depth;  /* bytes, rows, slices; none is 0 */
    uint32_t value, element_bytes;  /* of a fill */
};

uint64_t transfer_bytes(const struct transfer *transfer);
/* The parts that it may be divided into: of a row, or whole rows. */
uint32_t transfer_blocks(const struct transfer *transfer);
/* Takes parts [lo, hi) to the device, now; their end is reported with the tag, if not 0. */
CUresult transfer_run(struct session *session, struct stream *stream,
                      const struct transfer *transfer, uint32_t lo, uint32_t hi, uint64_t tag);

#endif
