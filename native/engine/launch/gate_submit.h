/* Launches behind gates (gate.h): into the books, and to the driver at once. */
#ifndef TALLY_ENGINE_GATE_SUBMIT_H
#define TALLY_ENGINE_GATE_SUBMIT_H

#include <stdbool.h>

#include "engine/launch/launch.h"

/* Whether the session's next launch has to be gated. Session thread. */
bool gates_are_wanted(struct session *session);
/* Gives the driver the launch behind a gate. Session thread, no lock held. */
CUresult gate_submit(struct session *session, struct launch *launch);

#endif
