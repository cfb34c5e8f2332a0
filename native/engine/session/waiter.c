#include "engine/session/waiter.h"

#include <stdlib.h>

#include "engine/session/ending.h"
#include "engine/session/event_pool.h"
#include "engine/session/session.h"
#include "engine/session/shared_event.h"

struct wait_item *wait_item_new(wait_done *done, uint32_t event_room)
{
    struct wait_item *item = calloc(1, sizeof *item + event_room * sizeof *item->events);
    if (item) {
        item->done = done;
        item->event_room = event_room;
    }
    return item;
}

void wait_item_free(struct session *session, struct wait_item *item)
{
    for (uint32_t i = 0; i < item->event_count; i++)
        event_pool_put(session, item->events[i]);
    if (item->event)
        shared_event_put(session, item->event);
    free(item);
}

static void serve(struct session *session, struct wait_item *item)
{
    CUresult result = CUDA_SUCCESS;
    for (uint32_t i = 0; i < item->event_count && result == CUDA_SUCCESS; i++)
        result = session->driver->cu.cuEventSynchronize(item->events[i]);
    if (item->event)
        result = session->driver->cu.cuEventSynchronize(item->event->driver);
    item->done(session, item, result);
    wait_item_free(session, item);
}

static struct wait_item *take(struct waiter *waiter)
{
    struct wait_item *item = waiter->head;
    if (item) {
        waiter->head = item->next;
        if (!waiter->head)
            waiter->tail = NULL;
        waiter->queued--;
    }
    return item;
}

static void *run(void *argument)
{
    struct waiter *waiter = argument;
    session_enter_thread(waiter->session);
    pthread_mutex_lock(&waiter->lock);
    while (!waiter->stopping) {
        struct wait_item *item = take(waiter);
        if (!item) {
            waiter->idle++;
            pthread_cond_wait(&waiter->work, &waiter->lock);
            waiter->idle--;
            continue;
        }
        pthread_mutex_unlock(&waiter->lock);
        serve(waiter->session, item);
        pthread_mutex_lock(&waiter->lock);
    }
    pthread_mutex_unlock(&waiter->lock);
    return NULL;
}

void waiter_init(struct waiter *waiter, struct session *session, const char *name,
                 uint32_t threads_max)
{
    *waiter = (struct waiter){.session = session, .name = name, .threads_max = threads_max};
    pthread_mutex_init(&waiter->lock, NULL);
    pthread_cond_init(&waiter->work, NULL);
}

/* Under the lock: one more thread if every thread has an item and this one would have to queue. */
static void grow(struct waiter *waiter)
{
    if (waiter->queued <= waiter->idle || waiter->threads == waiter->threads_max ||
        waiter->stopping)
        return;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 512u << 10);
    if (pthread_create(&waiter->ids[waiter->threads], &attributes, run, waiter) == 0) {
        pthread_setname_np(waiter->ids[waiter->threads], waiter->name);
        waiter->threads++;
    }
    pthread_attr_destroy(&attributes);
}

void waiter_add(struct waiter *waiter, struct wait_item *item)
{
    pthread_mutex_lock(&waiter->lock);
    item->next = NULL;
    if (waiter->tail)
        waiter->tail->next = item;
    else
        waiter->head = item;
    waiter->tail = item;
    waiter->queued++;
    grow(waiter);
    bool nobody = waiter->threads == 0;
    if (nobody)
        take(waiter);
    pthread_cond_signal(&waiter->work);
    pthread_mutex_unlock(&waiter->lock);
    if (nobody) /* not a single thread could be had: slow, but right */
        serve(waiter->session, item);
}

void waiter_stop(struct waiter *waiter)
{
    pthread_mutex_lock(&waiter->lock);
    waiter->stopping = true;
    pthread_cond_broadcast(&waiter->work);
    pthread_mutex_unlock(&waiter->lock);
    for (uint32_t i = 0; i < waiter->threads; i++)
        pthread_join(waiter->ids[i], NULL);
    struct wait_item *item;
    while ((item = take(waiter))) {
        item->done(waiter->session, item, CUDA_ERROR_DEINITIALIZED);
        wait_item_free(waiter->session, item);
    }
    pthread_cond_destroy(&waiter->work);
    pthread_mutex_destroy(&waiter->lock);
}
