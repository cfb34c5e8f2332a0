/* A client's event. The driver's event is replaced, not reused, while a waiter still looks at
 * it. */
#ifndef TALLY_ENGINE_SHARED_EVENT_H
#define TALLY_ENGINE_SHARED_EVENT_H

#include <stdatomic.h>
#include <stdint.h>

#include "tally/cuda.h"

struct session;

struct shared_event {
    CUevent driver;
    uint32_t flags;
    _Atomic uint32_t refs;
};

void shared_event_put(struct session *session, struct shared_event *event);

#endif
