/* Launches that do not stop when they are told to, because their blocks wait for such as have left
 * (native/sched/watchdog.c): what has not begun runs beside them, in a stream of its own. */
#ifndef TALLY_ENGINE_RESCUE_H
#define TALLY_ENGINE_RESCUE_H

#include "engine/launch/schedule_state.h"

/* Session thread, under the lock, which is released around the driver's calls: carries the core's
 * instruction out. */
CUresult rescue_start(struct schedule *s, struct session *session, const struct launch *launch,
                      uint32_t index);
/* Under the lock: whether the end of this start is the rescue's business; it is dealt with then. */
bool rescue_ended(struct schedule *s, struct pending *pending, struct start *start);
/* The session ends. */
void rescue_close(struct session *session);

#endif
