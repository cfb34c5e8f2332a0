/* Taking blocks of a launch to the driver. */
#ifndef TALLY_ENGINE_START_H
#define TALLY_ENGINE_START_H

#include <stdint.h>

#include "tally/cuda.h"

struct launch;
struct session;

/* LAUNCH_REACHED is none: that a stream has got to a launch's gate, see gate.h. */
enum launch_form { LAUNCH_WHOLE, LAUNCH_GUARDED, LAUNCH_SUBGRID, LAUNCH_REACHED };

/* Takes blocks [lo, hi) of the launch to the device, now; its end is reported with the tag, if not
 * 0. No lock held. */
CUresult launch_range(struct session *session, const struct launch *launch, enum launch_form form,
                      uint32_t lo, uint32_t hi, uint64_t tag);

#endif
