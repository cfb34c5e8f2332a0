/* Ends of starts, where the driver does not report them by itself: an event behind each, and
 * threads that wait. */
#ifndef TALLY_ENGINE_COMPLETION_H
#define TALLY_ENGINE_COMPLETION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/launch/start.h"
#include "engine/session/waiter.h"
#include "engine/streams/queues.h"

struct session;

struct lane {
    struct wait_item *next, *last; /* behind the one that is with the waiter */
    bool busy;
    bool joining;    /* the last item's event is being recorded again: it is not taken meanwhile */
    uint64_t end_ns; /* of what was reported last */
};

struct lanes {
    struct waiter waiter;
    pthread_mutex_t lock; /* never held over a call of the driver */
    pthread_cond_t joined;
    struct lane at[SESSION_QUEUES_MAX];
};

void completion_init(struct session *session);
/* Waits for the threads that wait; nothing may be added later. */
void completion_stop(struct session *session);
void completion_close(struct session *session);
/* Reports the end of what the stream has now, with the tag; slot: of a guarded launch's control
 * block, or the number of a gate. */
CUresult completion_add(struct session *session, const struct stream *stream, uint32_t slot,
                        enum launch_form form, uint64_t tag);

#endif
