/* softgpu: a tenant of its own for each session, ends that it reports, device memory that can be
 * stored to from here. */
#ifndef TALLY_ENGINE_DRIVER_SOFT_H
#define TALLY_ENGINE_DRIVER_SOFT_H

#include "engine/device/driver.h"

extern const struct device_ops driver_soft_ops;

#endif
