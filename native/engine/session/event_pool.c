#include "engine/session/event_pool.h"

#include <stdlib.h>

#include "engine/session/session.h"

void event_pool_init(struct session *session)
{
    pthread_mutex_init(&session->events_free.lock, NULL);
}

CUresult event_pool_get(struct session *session, CUevent *event)
{
    struct event_pool *pool = &session->events_free;
    pthread_mutex_lock(&pool->lock);
    *event = pool->count ? pool->items[--pool->count] : NULL;
    pthread_mutex_unlock(&pool->lock);
    if (*event)
        return CUDA_SUCCESS;
    return session->driver->cu.cuEventCreate(event,
                                             CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC);
}

void event_pool_put(struct session *session, CUevent event)
{
    struct event_pool *pool = &session->events_free;
    pthread_mutex_lock(&pool->lock);
    if (pool->count == pool->room) {
        uint32_t room = pool->room ? pool->room * 2 : 32;
        CUevent *items = realloc(pool->items, room * sizeof *items);
        if (items) {
            pool->items = items;
            pool->room = room;
        }
    }
    bool kept = pool->count < pool->room;
    if (kept)
        pool->items[pool->count++] = event;
    pthread_mutex_unlock(&pool->lock);
    if (!kept)
        session->driver->cu.cuEventDestroy_v2(event);
}

void event_pool_close(struct session *session)
{
    struct event_pool *pool = &session->events_free;
    for (uint32_t i = 0; i < pool->count; i++)
        session->driver->cu.cuEventDestroy_v2(pool->items[i]);
    free(pool->items);
    pthread_mutex_destroy(&pool->lock);
}
