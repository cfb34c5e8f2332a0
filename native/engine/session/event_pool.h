/* The driver's events for waiting and ordering only (no timing, blocking). Any thread. */
#ifndef TALLY_ENGINE_EVENT_POOL_H
#define TALLY_ENGINE_EVENT_POOL_H

#include <pthread.h>
#include <stdint.h>

#include "tally/cuda.h"

struct session;

struct event_pool {
    pthread_mutex_t lock;
    CUevent *items;
    uint32_t count, room;
};

void event_pool_init(struct session *session);
CUresult event_pool_get(struct session *session, CUevent *event);
void event_pool_put(struct session *session, CUevent event);
void event_pool_close(struct session *session);

#endif
