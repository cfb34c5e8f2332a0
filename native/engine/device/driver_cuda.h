/* NVIDIA's driver: one context for all sessions, and everything through its public functions. */
#ifndef TALLY_ENGINE_DRIVER_CUDA_H
#define TALLY_ENGINE_DRIVER_CUDA_H

#include "engine/device/driver.h"

extern const struct device_ops driver_cuda_ops;

#endif
