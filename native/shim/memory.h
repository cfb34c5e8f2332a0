/* Device memory and pinned host memory. */
#ifndef TALLY_SHIM_MEMORY_H
#define TALLY_SHIM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "ranges.h"

/* True if [address, address + bytes) lies in one allocation that the channel's device can reach. */
bool shim_memory_holds(const struct shim_channel *channel, uint64_t address, uint64_t bytes);

#endif
