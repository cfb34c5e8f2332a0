/* Takes the device: the driver's library set up, and the one context that all sessions share. */
#ifndef TALLY_ENGINE_TAKE_H
#define TALLY_ENGINE_TAKE_H

#include "engine/parts.h"

/* What softgpu calls back, on its worker threads. */
struct device_callbacks {
    softgpu_output_fn output;
    softgpu_launch_done_fn launch_done;
};

/* Fills in the engine's device, context, info and driver_version. The calling thread is in the context then. */
CUresult device_take(struct tally_engine *engine, const struct device_callbacks *callbacks);

#endif
