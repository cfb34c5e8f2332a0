/* Streams, and CUDA's legacy default-stream ordering among them. */
#ifndef TALLY_ENGINE_STREAM_H
#define TALLY_ENGINE_STREAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/session/table.h"
#include "engine/streams/queues.h"
#include "tally/cuda.h"

struct session;

struct stream {
    struct stream *next; /* of the session */
    CUstream driver;
    int priority;         /* driver's */
    uint64_t handle;      /* 0: destroyed by the client, work may be left */
    bool blocking;        /* ordered against the legacy stream; false for that one itself */
    bool dirty;           /* blocking: has work that the legacy stream did not wait for */
    bool active;          /* was given work since it was last seen idle */
    uint64_t legacy_seen; /* blocking: legacy work up to this count is ahead of what comes now */
    uint32_t queue;       /* the scheduler's number for it, or QUEUE_NONE: see queues.h */
    /* Waits for values in memory since it was last seen idle (stream_value.c). */
    struct value_wait *waits;
    uint32_t wait_count, wait_room;
};

/* Of one session; its thread's, which reads them without the lock. */
struct streams {
    struct table handles;
    /* The list, and which stream has which queue: where the session's thread changes them. */
    pthread_mutex_t lock;
    struct stream *list;
    struct stream *legacy; /* made when first used */
    uint64_t legacy_count; /* ops given to it */
    uint32_t dirty_count;
    uint64_t queues_used[SESSION_QUEUES_MAX / 64];
};

void streams_init(struct session *session);
/* The stream a handle means, or NULL. TALLY_STREAM_LEGACY makes that stream when first used. */
struct stream *stream_find(struct session *session, uint64_t handle);
CUresult stream_new(struct session *session, bool blocking, struct stream **out);
/* Every op that gives a stream work starts here: puts what CUDA's legacy ordering wants ahead of
 * it. */
CUresult stream_enter(struct session *session, struct stream *stream);
/* CUDA_SUCCESS when nothing is left to do, CUDA_ERROR_NOT_READY, or an error. */
CUresult stream_query(struct session *session, struct stream *stream);
/* Streams that the client destroyed go once their work is done. */
void streams_sweep(struct session *session);
void streams_close(struct session *session);
/* Whether a stream may be waiting for a value, which perhaps only a later op will write. */
bool streams_wait(struct session *session);
/* Until all that they have is done. */
void streams_drain(struct session *session);

#endif
