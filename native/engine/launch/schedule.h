/* The scheduler core (native/sched) at work in an engine: events in from sessions and from the
 * device, instructions carried out.
 *
 * Who does what:
 *   session thread   submits its launches one by one and carries out their starts. While a launch
 *                    has not all been started, or may have to be started again, it takes no further
 *                    op, except for launches that can be stopped too (turns.c): so everything
 *                    behind it is deferred, and the ops left in the socket are the flow control.
 *   device's report  the driver's threads, or the completion threads of a session: the end of a
 *                    start.
 *   timer thread     the core's timer.
 * All of them call the core under schedule.lock, the innermost lock of the engine but that of
 * stores.c; softgpu takes it inside its own. Under it no driver is called: flags and gates are put
 * down there in the order of the decisions, and whoever lets go of the lock makes the calls
 * (device/stores.h); softgpu's are stores to memory, made at once. */
#ifndef TALLY_ENGINE_SCHEDULE_H
#define TALLY_ENGINE_SCHEDULE_H

#include <stdbool.h>

#include "engine/engine.h"

struct schedule;
struct session;

struct schedule *schedule_create(struct tally_engine *engine);
void schedule_destroy(struct schedule *schedule);

/* Before the session's first launch, and when its thread ends: after session_close no report of the
 * session's launches is expected any more. */
bool schedule_session_open(struct session *session);
void schedule_session_close(struct session *session);

/* Brings the session's counters up to what the core knows. */
void schedule_count(struct session *session);
/* What the session has had with the device for longest; false: nothing. */
bool schedule_running(struct session *session, struct tally_running *running);

#endif
