/* A session: one client process's connection.
 *
 * Who owns what:
 *   session thread   the ops socket, handles, streams, legacy ordering, modules, uploads. No lock.
 *   memory.lock      device ranges, pinned areas, accounts: also released by the reaper.
 *   replies.lock     the replies socket and the async error; held while a slow client is waited
 *                    for.
 *   replies.output_lock  what the device printed; never held for long.
 *   waits, reaper    a lock each (waiter.c).
 *   roster's lock    which sessions there are (roster.c).
 * Locks are not nested, save that output_lock may be taken inside replies.lock and the waker's
 * inside any. */
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
#include "engine/launch/session_books.h"
#include "engine/memory/memory.h"
#include "engine/parts.h"
#include "engine/session/ending.h"
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
    uint32_t tenant; /* the driver's number for it; 0: it has none yet, or no more */

    pthread_t thread;
    void *ops;
    struct waker waker;
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

    struct streams streams;
    struct table events, modules, functions;
    int priority; /* driver's, of streams that carry no work of the program */
    struct upload uploads[UPLOADS_MAX];
    struct tally_session_stats stats;
    struct session_books books; /* the schedule's lock */
    struct gates gates;
    struct control control[GUARDED_MAX + 1]; /* the last: RESCUE_SLOT */
    struct stream rescue_stream;             /* session thread; made when first needed (rescue.c) */
    struct open_launches open;
    struct lanes lanes;
    uint64_t rewritten_turn; /* when the rewriter last made something for it; the rewriter's lock */
    struct timing *timing;   /* sampled event pairs; NULL where the driver tells by itself */
};

/* Makes everything and starts the thread; NULL and a reason. */
struct session *session_create(struct tally_engine *engine,
                               const struct tally_session_config *config, uint32_t index,
                               struct tally_open_reply *reply, char *error, size_t error_bytes);
/* Joins the thread (the session must be ending) and frees the struct. */
void session_destroy(struct session *session);

#endif
