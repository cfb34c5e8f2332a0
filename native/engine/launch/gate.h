/* Gates: launches of a best-effort session that waits for a value in memory.
 *
 * Such a session's thread may not be held back: what it is to write may be its next op. So its
 * launches go to the driver at once, each behind a gate, a wait of the stream's for a word of ours.
 * When the stream has got there, the scheduler is told of the launch; when it says start, the gate
 * opens. Until all gated launches of a session have ended, its later ones are gated too: they may
 * depend on them. */
#ifndef TALLY_ENGINE_GATE_H
#define TALLY_ENGINE_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "tally/cuda.h"

struct launch;
struct pending;
struct schedule;
struct session;

/* Whether the session's next launch has to be gated. Session thread. */
bool gates_are_wanted(struct session *session);
/* Gives the driver the launch behind a gate. Session thread, no lock held. */
CUresult gate_submit(struct session *session, struct launch *launch);
/* A stream has got to its gate of that number, of the start with this tag. Any thread. */
void gate_reached(struct session *session, uint64_t tag, uint32_t place, uint32_t number);

/* Under the schedule's lock: the core says start; the launch is over; the session fails or ends. */
void gate_open(struct pending *pending);
void gate_over(struct pending *pending);
void gates_forget(struct schedule *s, struct session *session);

/* A real device's streams cannot be dropped: every gate opens. Session thread, at its end. */
void gates_release(struct session *session);
void gates_close(struct session *session);

#endif
