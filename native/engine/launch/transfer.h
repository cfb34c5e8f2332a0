/* Copies and fills as work of the device: in one piece for high, in turn and in pieces for others.
 * Their addresses have been checked
 * (ops/copy.c). */
#ifndef TALLY_ENGINE_TRANSFER_H
#define TALLY_ENGINE_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "tally/cuda.h"
#include "tally/rates.h"

/* One end of a copy: where it is for the driver, and how its box lies there. */
struct transfer_end {
    bool host; /* the executor's address, in slots or a message or pinned memory; else a device's */
    uint64_t address;
    uint64_t pitch, slice; /* bytes from row to row, from slice to slice */
};

struct transfer {
    enum tally_transfer_kind kind;
    struct transfer_end dst, src;  /* a fill has no source */
    uint64_t width, height, depth; /* bytes, rows, slices; none is 0 */
    uint32_t value, element_bytes; /* of a fill */
};

uint64_t transfer_bytes(const struct transfer *transfer);
/* The parts that it may be divided into: of a row, or whole rows. */
uint32_t transfer_blocks(const struct transfer *transfer);
/* One call of the driver's: lines of one row, or rows of one slice, or whole slices. */
struct transfer_piece {
    uint64_t dst, src;
    uint64_t width, height, depth;
    uint32_t end; /* the part behind it */
};
/* The largest piece that begins with part `lo`, before `hi`; all of it as one. */
struct transfer_piece transfer_piece_at(const struct transfer *transfer, uint32_t lo, uint32_t hi);
struct transfer_piece transfer_whole(const struct transfer *transfer, uint32_t end);

#endif
