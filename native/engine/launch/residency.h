/* How many blocks of a launch the device holds at once: what a slice of less than that would not
 * be any quicker for. */
#ifndef TALLY_ENGINE_RESIDENCY_H
#define TALLY_ENGINE_RESIDENCY_H

#include <stdbool.h>
#include <stdint.h>

struct launch;

/* What the driver said of the shape that was asked for last. */
struct residency {
    bool asked;
    uint64_t threads; /* of a block */
    uint32_t dynamic_shared_bytes;
    uint32_t blocks; /* that a multiprocessor holds; 0: not known */
};

/* Of one multiprocessor, as the driver's occupancy says; 0: not known. Asks it once for each shape
 * of block of a function. Session thread, no lock held. */
uint32_t residency_per_multiprocessor(const struct launch *launch);
/* Of the whole device; 0: not known. */
uint32_t residency_of(const struct launch *launch);

#endif
