/* A session: one client process's connection.
 *
 * Who owns what:
 *   session thread   the ops socket, handles, streams, legacy ordering, modules, uploads. No lock.
 *   memory.lock      device ranges, pinned areas, accounts: also released by the reaper.
 *   replies.lock     the replies socket and the async error; held while a slow client is waited for.
 *   replies.output_lock  what the device printed; never held for long.
 *   waits, reaper    a lock each (waiter.c).
 *   roster's lock    which sessions there are (roster.c).
 * Locks are not nested, save that output_lock may be taken inside replies.lock and wake_lock inside any. */
#ifndef TALLY_ENGINE_SESSION_H
#define TALLY_ENGINE_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "engine/code/upload.h"
#include "engine/device/driver.h"
#include "engine/engine.h"
#include "engine/launch/completion.h"
#include "engine/launch/control.h"
#include "engine/launch/gate.h"
#include "engine/launch/open.h"
#include "engine/memory/memory.h"
#include "engine/parts.h"
#include "engine/session/event_pool.h"
#include "engine/session/handover.h"
#include "engine/session/notice.h"
#include "engine/session/reply.h"
#include "engine/session/request.h"
#include "engine/session/segment.h"
#include "engine/session/table.h"
#include "engine/session/waiter.h"
#include "engine/session/watch.h"
#include "engine/streams/queues.h"
#include "engine/streams/stream.h"

struct session {
    struct tally_engine *engine;
    struct driver *driver; /* engine's */
    struct tally_session_config config;
    uint32_t index;  /* in the engine's table; names the pinned region */
    uint32_t tenant; /* softgpu's, else 0 */
    bool tenant_made;

    pthread_t thread;
    void *ops;
    pthread_mutex_t wake_lock;
    void *waker; /* inproc PUSH to ops; wake_lock */
    struct watch watch;
    _Atomic bool reason_given; /* whoever sets it writes the reason, then sets ending */
    _Atomic bool ending;
    char reason[TALLY_REASON_BYTES];
    bool bye;
    _Atomic bool client_gone; /* seen by the watcher, whatever else ended the session */
    bool attached; /* roster's lock: segment and memory may be touched by other sessions' threads */

    struct notices notices;
    struct replies replies;
    struct segment segment;
    struct handover handover;
    struct memory memory;
    struct request request;
    struct waiter waits;  /* blocking calls */
    struct waiter reaper; /* what is released once prior work is done */
    struct event_pool events_free;
    _Atomic uint32_t waits_outstanding;
    _Atomic int sticky; /* CUresult */

    struct table streams, events, modules, functions;
    pthread_mutex_t streams_lock; /* stream_list, and which stream has which queue: changed by the session's
                                     thread, which reads without it */
    struct stream *stream_list;
    struct stream *legacy;    /* made when first used */
    uint64_t legacy_count;    /* ops given to it */
    uint32_t dirty_count;
    int priority;             /* driver's, of streams that carry no work of the program */
    struct upload uploads[UPLOADS_MAX];
    struct tally_session_stats stats;
    pthread_cond_t turn; /* with the schedule's lock: starts and ends of this session's launches */
    uint32_t starts_in_flight; /* the schedule's lock */
    uint32_t queue_starts[SESSION_QUEUES_MAX]; /* of those, by queue; the same lock */
    uint64_t held_ns;    /* when the launch came that its thread sees through; 0: none; the same lock */
    uint64_t end_ns;     /* of its last start; the same lock */
    bool scheduled;      /* the scheduler knows the session; its lock */
    CUresult failed;     /* what it would launch now would not run; the schedule's lock */
    struct gates gates;
    struct control control[GUARDED_MAX + 1]; /* the last: RESCUE_SLOT */
    struct stream rescue_stream;         /* session thread; made when first needed (rescue.c) */
    struct open_launch open[GUARDED_MAX]; /* a ring, by place as `control`; session thread, read under the lock */
    uint32_t open_first, open_count;
    bool in_turn;        /* its thread is in turns.c and will see what is to be done; the schedule's lock */
    _Atomic bool called; /* an empty message is on its way to the thread, see session_call */
    struct waiter completions; /* of starts, where the driver does not report them by itself */
    pthread_mutex_t lanes_lock; /* completion.c */
    struct lane lanes[SESSION_QUEUES_MAX];
    uint64_t queues_used[SESSION_QUEUES_MAX / 64];
    uint64_t rewritten_turn; /* when the rewriter last made something for it; the rewriter's lock */
    struct timing *timing; /* sampled event pairs; NULL on softgpu, which tells by itself */
};

/* Makes everything and starts the thread; NULL and a reason. */
struct session *session_create(struct tally_engine *engine, const struct tally_session_config *config, uint32_t index,
                               struct tally_open_reply *reply, char *error, size_t error_bytes);
/* Joins the thread (the session must be ending) and frees the struct. */
void session_destroy(struct session *session);

#endif
