/* High launches, where the policy lets them: to the device first, to the books then. */
#ifndef TALLY_ENGINE_AT_ONCE_H
#define TALLY_ENGINE_AT_ONCE_H

#include "engine/launch/launch.h"

/* Session thread, no lock held; waits for nothing but the driver. */
CUresult launch_at_once(struct session *session, struct launch *launch);

#endif
