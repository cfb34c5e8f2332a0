/* The control blocks of a session's guarded launches (layout: scheduler/ptx/guard.py). */
#ifndef TALLY_ENGINE_CONTROL_H
#define TALLY_ENGINE_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "tally/cuda.h"

/* Guarded launches of a session with the device: one runs, the next is there. */
#define GUARDED_MAX 2u
#define RESCUE_SLOT GUARDED_MAX /* of the control block of a rescue */

struct session;

struct control {
    CUdeviceptr address;
    uint32_t room; /* blocks */
    uint32_t epoch;
    uint32_t started; /* as the completion thread read it; real devices only */
};

/* A fresh epoch for a launch of so many blocks. Session thread; false: short of device memory. */
bool control_prepare(struct session *session, uint32_t slot, uint32_t blocks);
/* The same for a rescue: what is marked in `from` is marked in `slot` too, its epoch the same. */
bool control_copy(struct session *session, uint32_t from, uint32_t slot, uint32_t blocks);
CUdeviceptr control_address(const struct session *session, uint32_t slot);
void control_raise(struct session *session, uint32_t slot);
void control_lower(struct session *session, uint32_t slot);
uint32_t control_read(struct session *session, uint32_t slot); /* blocks that ran in this epoch */
/* Blocks that have begun so far, of a launch that is with the device. No lock held. */
CUresult control_count(struct session *session, uint32_t slot, uint32_t *begun);
/* Real devices: before the report of a guarded start. */
CUresult control_fetch(struct session *session, uint32_t slot);
void control_close(struct session *session);

#endif
