/* Threads that wait for the device in a session's place.
 *
 * Each item waits for a set of driver events, then runs its function. One thread serves one item at
 * a time and blocks in the driver, so nothing polls and items of different streams finish in any
 * order; threads are started when all are busy, up to a limit, and stay until the waiter stops. */
#ifndef TALLY_ENGINE_WAITER_H
#define TALLY_ENGINE_WAITER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tally/cuda.h"
#include "tally/protocol.h"

#define WAITER_THREADS_MAX 64u

struct session;
struct stream;
struct wait_item;
struct shared_event;

/* `result`: CUDA_SUCCESS, the first event's error, or CUDA_ERROR_DEINITIALIZED when the session
 * ends first. Runs on a waiter's thread, or on the caller's if nothing was to be waited for. */
typedef void wait_done(struct session *session, struct wait_item *item, CUresult result);

struct wait_item {
    struct wait_item *next;
    wait_done *done;
    struct tally_op op;          /* to be answered */
    uint64_t a, b, c;            /* the function's own */
    uint64_t request;            /* request_mark when the op arrived */
    struct shared_event *event;  /* a client's event instead of pooled ones */
    const struct stream *stream; /* completion.c: whose, compared and not looked into */
    uint32_t pieces;             /* of counted work, that it stands for */
    uint32_t event_count, event_room;
    CUevent events[]; /* of the session's pool */
};

struct waiter {
    struct session *session;
    const char *name;
    uint32_t threads_max;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct wait_item *head, *tail;
    uint32_t queued, idle, threads;
    bool stopping;
    pthread_t ids[WAITER_THREADS_MAX];
};

struct wait_item *wait_item_new(wait_done *done, uint32_t event_room);
void wait_item_free(struct session *session, struct wait_item *item); /* gives its events back */

void waiter_init(struct waiter *waiter, struct session *session, const char *name,
                 uint32_t threads_max);
/* Takes the item over. */
void waiter_add(struct waiter *waiter, struct wait_item *item);
/* Waits for the threads; items that nobody took get CUDA_ERROR_DEINITIALIZED. Nothing may be added
 * later, save by the items' own functions. */
void waiter_stop(struct waiter *waiter);

#endif
