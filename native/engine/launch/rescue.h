/* Launches that do not stop when they are told to, because their blocks wait for such as have left
 * (native/sched/watchdog.c): what has not begun runs beside them, in a stream of its own. */
#ifndef TALLY_ENGINE_RESCUE_H
#define TALLY_ENGINE_RESCUE_H

#include "engine/launch/books.h"

/* Session thread, under the lock, which is released around the driver's calls: carries the core's
 * instruction out. */
CUresult rescue_start(struct schedule *s, struct session *session, const struct launch *launch,
                      uint32_t index);
/* The session ends. */
void rescue_close(struct session *session);

#endif
