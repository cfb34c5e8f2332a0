/* How launches get their turn: from a session's thread to the device, when and as the core says. */
#ifndef TALLY_ENGINE_TURNS_H
#define TALLY_ENGINE_TURNS_H

#include <stdbool.h>

#include "engine/launch/launch.h"

/* Runs a launch as the policy wants it. Session thread; returns when the launch is with the device
 * to its end, has all been run, or can be stopped and runs. */
CUresult schedule_launch(struct session *session, struct launch *launch);
/* Session thread, before it does anything else: waits until launches that it let go have all been
 * run; before it gives the stream of a launch anything: until those of other streams have. */
void schedule_settle(struct session *session);
void schedule_make_way(struct session *session, const struct launch *launch);
/* Session thread, called (session_call): starts again what had been stopped. */
void schedule_go_on(struct session *session);
/* A number of the scheduler's for the stream; false: launches of as many other streams are with the
 * device. The same, but waits until there is one; false: the session ends. Session thread. */
bool queue_take(struct session *session, struct stream *stream);
bool queue_wait(struct session *session, struct stream *stream);

#endif
