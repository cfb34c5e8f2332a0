/* Gates: launches of a best-effort session that waits for a value in memory.
 *
 * Such a session's thread may not be held back: what it is to write may be its next op. So its
 * launches go to the driver at once, each behind a gate, a wait of the stream's for a word of ours.
 * When the stream has got there, the scheduler is told of the launch; when it says start, the gate
 * opens. Until all gated launches of a session have ended, its later ones are gated too: they may
 * depend on them. */
#ifndef TALLY_ENGINE_GATE_H
#define TALLY_ENGINE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/streams/queues.h"
#include "tally/cuda.h"

struct pending;
struct schedule;

struct gates {
    CUdeviceptr words;                    /* 0: none yet; session thread */
    uint32_t numbers[SESSION_QUEUES_MAX]; /* of the newest gate; the schedule's lock */
    _Atomic uint32_t outstanding;         /* launches behind gates that are not over */
};

/* Launches behind gates that are not over. */
uint32_t gates_outstanding(const struct session *session);
/* Under the schedule's lock: the number of a new gate of the place's. */
uint32_t gate_add(struct session *session, uint32_t place);
uint32_t gate_newest(const struct session *session, uint32_t place);
/* The words are made when first needed; false: short of device memory. Session thread. */
bool gates_open_words(struct session *session);
CUdeviceptr gate_word(const struct session *session, uint32_t place);
/* Opens the place's gates up to that number: a store, or one call that waits for nothing. */
void gate_write(struct session *session, uint32_t place, uint32_t number);

/* Under the schedule's lock: the core says start; the launch is over; the session fails or ends. */
void gate_open(struct pending *pending);
void gate_over(struct pending *pending);
void gates_forget(struct schedule *s, struct session *session);

/* A real device's streams cannot be dropped: every gate opens. Session thread, at its end. */
void gates_release(struct session *session);
void gates_close(struct session *session);

#endif
