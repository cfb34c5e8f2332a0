#include "engine/session/shared_event.h"

#include <stdlib.h>

#include "engine/session/session.h"

void shared_event_put(struct session *session, struct shared_event *event)
{
    if (atomic_fetch_sub(&event->refs, 1) == 1) {
        session->driver->cu.cuEventDestroy_v2(event->driver);
        free(event);
    }
}
