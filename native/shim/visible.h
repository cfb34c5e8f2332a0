/* Which of tallyd's devices a program sees, and in which order: CUDA_VISIBLE_DEVICES and
 * CUDA_DEVICE_ORDER. */
#ifndef TALLY_SHIM_VISIBLE_H
#define TALLY_SHIM_VISIBLE_H

#include <stdint.h>

#include "tally/protocol.h"

/* Writes indices into `devices` to `out` (room for TALLY_DEVICES_MAX) and returns how many there
 * are. `list` is the value of CUDA_VISIBLE_DEVICES, NULL: unset; `order` that of CUDA_DEVICE_ORDER.
 */
uint32_t shim_visible_devices(const struct tally_device_info *devices, uint32_t count,
                              const char *list, const char *order, uint32_t out[]);

#endif
