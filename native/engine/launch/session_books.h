/* What the scheduler's books say of one session. Under the schedule's lock. */
#ifndef TALLY_ENGINE_SESSION_BOOKS_H
#define TALLY_ENGINE_SESSION_BOOKS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/streams/queues.h"
#include "tally/cuda.h"

struct session;

struct session_books {
    pthread_cond_t turn; /* starts and ends of this session's launches */
    uint32_t starts_in_flight;
    uint32_t queue_starts[SESSION_QUEUES_MAX]; /* of those, by queue */
    uint64_t held_ns; /* when the launch came that its thread sees through; 0: none */
    uint64_t end_ns;  /* of its last start */
    bool scheduled;   /* the scheduler knows the session */
    bool in_turn;     /* its thread is in turns.c and will see what is to be done */
    CUresult failed;  /* what it would launch now would not run */
};

void books_init(struct session *session);
void books_destroy(struct session *session);

#endif
