/* How long copies and fills take, from measurements, and how they are divided for it. Pure: no
 * clock, no allocation; times are device times in ns. */
#ifndef TALLY_RATES_H
#define TALLY_RATES_H

#include "tally/sched.h"

enum tally_transfer_kind {
    TALLY_TRANSFER_TO_DEVICE = 0,
    TALLY_TRANSFER_TO_HOST = 1,
    TALLY_TRANSFER_ON_DEVICE = 2, /* and between host addresses */
    TALLY_TRANSFER_FILL = 3,
};
#define TALLY_TRANSFER_KINDS 4u

/* Least bytes of one piece, however little fits under the bound: smaller ones cost more than they
 * carry. At 25 GB/s it takes 10 us. */
#define TALLY_TRANSFER_PIECE_BYTES (256u << 10)

struct tally_rates {
    uint64_t ps_per_byte[TALLY_TRANSFER_KINDS]; /* smoothed, never 0 */
    bool measured[TALLY_TRANSFER_KINDS];
};

void tally_rates_init(struct tally_rates *rates);
void tally_rates_measure(struct tally_rates *rates, enum tally_transfer_kind kind, uint64_t bytes,
                         uint64_t ns);
/* Device time of so many bytes, at least 1. */
uint64_t tally_rates_estimate(const struct tally_rates *rates, enum tally_transfer_kind kind,
                              uint64_t bytes);
/* How a transfer of `blocks` alike parts, `bytes` in all, is run: whole if it keeps the bound, else
 * in slices of half of it, of which two in flight hide the way back of the first. */
void tally_rates_plan(const struct tally_rates *rates, enum tally_transfer_kind kind,
                      uint64_t bytes, uint32_t blocks, uint64_t turnaround_ns_max,
                      struct tally_sched_plan *plan);

#endif
