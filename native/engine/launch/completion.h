/* Ends of starts, where the driver does not report them by itself: an event behind each, and threads that wait. */
#ifndef TALLY_ENGINE_COMPLETION_H
#define TALLY_ENGINE_COMPLETION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/launch/start.h"
#include "engine/streams/queues.h"

struct wait_item;

struct lane {
    struct wait_item *next, *last; /* behind the one that is with the waiter */
    bool busy;
    uint64_t end_ns; /* of what was reported last */
};

/* Reports the end of what the stream has now, with the tag; slot: of a guarded launch's control block, or
 * the number of a gate. */
CUresult completion_add(struct session *session, const struct stream *stream, uint32_t slot, enum launch_form form,
                        uint64_t tag);

#endif
