/* Device memory and pinned host memory. */
#ifndef TALLY_SHIM_MEMORY_H
#define TALLY_SHIM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "ranges.h"

/* True if [address, address + bytes) lies in one allocation that the channel's device can reach. */
bool shim_memory_holds(const struct shim_channel *channel, uint64_t address, uint64_t bytes);

/* Whether a synchronous copy or memset of this memory returns only once it has happened: pinned
 * host memory, and any with CU_POINTER_ATTRIBUTE_SYNC_MEMOPS (NVIDIA, "API synchronization
 * behavior"). */
bool shim_memory_waits(uint64_t address);

#endif
