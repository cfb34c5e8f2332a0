/* Takes the device: the driver's library set up, and the one context that all sessions share. */
#ifndef TALLY_ENGINE_TAKE_H
#define TALLY_ENGINE_TAKE_H

#include "engine/parts.h"

/* Fills in what the driver has of the device, the engine's info and driver_version. The calling
 * thread is in the context then. */
CUresult device_take(struct tally_engine *engine, const struct device_callbacks *callbacks);
void device_give(struct tally_engine *engine);

#endif
