/* A session's life: made by the engine's caller, run by its own thread, torn down by that
 * thread. */
#include "engine/session/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/code/function.h"
#include "engine/code/loading.h"
#include "engine/code/module.h"
#include "engine/code/rewriter.h"
#include "engine/launch/completion.h"
#include "engine/launch/control.h"
#include "engine/launch/gate.h"
#include "engine/launch/rescue.h"
#include "engine/launch/schedule.h"
#include "engine/launch/session_books.h"
#include "engine/launch/timing.h"
#include "engine/launch/turns.h"
#include "engine/memory/memory.h"
#include "engine/ops/dispatch.h"
#include "engine/parts.h"
#include "engine/session/ending.h"
#include "engine/session/event_pool.h"
#include "engine/session/handover.h"
#include "engine/session/news.h"
#include "engine/session/notice.h"
#include "engine/session/reply.h"
#include "engine/session/request.h"
#include "engine/session/roster.h"
#include "engine/session/segment.h"
#include "engine/session/sockets.h"
#include "engine/session/waiter.h"
#include "engine/session/watch.h"
#include "engine/stats.h"
#include "engine/streams/event.h"
#include "engine/streams/stream.h"
#include "engine/streams/stream_value.h"
#include "wire/message.h"
#include "wire/zmq.h"

#define DRAIN_MESSAGES_MAX 4096
#define BYE_WAIT_MS 50

/* A client that says goodbye and leaves may be seen leaving before its goodbye is read. */
static void note_bye(struct session *session, const void *bytes, size_t size)
{
    struct tally_op op;
    session->bye |= tally_op_read(bytes, size, &op) && op.code == TALLY_OP_BYE;
}

static void look_for_bye(struct session *session)
{
    tally_zmq_set(session->ops, TALLY_ZMQ_RCVTIMEO, BYE_WAIT_MS);
    for (int i = 0; i < DRAIN_MESSAGES_MAX && !session->bye; i++) {
        struct tally_op op;
        int bytes = tally_zmq.recv(session->ops, &op, sizeof op, 0);
        if (bytes < 0)
            break;
        note_bye(session, &op, (size_t)bytes);
    }
    if (session->bye)
        snprintf(session->reason, sizeof session->reason, "the client is done");
}

/* Work that is queued or runs is dropped and interrupted where the driver can do that, else waited
 * for. */
static void stop_work(struct session *session)
{
    bool stopped =
        session->tenant && session->driver->ops->tenant_stop(session->driver, session->tenant);
    if (!stopped) {
        gates_release(session);
        streams_release(session);
    }
    waiter_stop(&session->waits);
    waiter_stop(&session->reaper);
    completion_stop(session);
    schedule_session_close(session);
    if (!stopped)
        streams_drain(session);
}

static void release_tenant(struct session *session)
{
    if (session->tenant)
        session->driver->ops->tenant_close(session->driver, session->tenant);
    session->tenant = 0;
}

static void tear_down(struct session *session)
{
    segment_mark_closed(session);
    sockets_stop_monitors(session);
    watcher_remove(session->engine->watcher, session);
    stop_work(session);
    if (session->client_gone)
        look_for_bye(session);
    timing_close(session);
    control_close(session);
    gates_close(session);
    rescue_close(session);
    events_close(session);
    streams_close(session);
    rewriter_forget(session->engine->rewriter, session);
    modules_close(session);
    event_pool_close(session);
    roster_detach(session->engine->roster, session);
    /* From here on nobody but this thread touches segment and memory. */
    memory_close(session);
    segment_close(session);
    sockets_close(session);
    /* Last: with the tenant's number go its address ranges, which are free by now. */
    release_tenant(session);
    notices_close(&session->notices);
    completion_close(session);
    request_close(session);
}

/* ---- the thread ----------------------------------------------------------------------------- */

static void receive(struct session *session)
{
    struct tally_zmq_message message;
    while (!atomic_load_explicit(&session->ending, memory_order_acquire)) {
        tally_zmq.msg_init(&message);
        if (tally_zmq.msg_recv(&message, session->ops, 0) < 0) {
            if (tally_zmq.error() != EINTR)
                session_end(session, "the ops socket failed: %s",
                            tally_zmq.strerror(tally_zmq.error()));
            continue;
        }
        if (tally_zmq.msg_size(&message) == 0 && waker_called(&session->waker)) {
            tally_zmq.msg_close(&message);
            session_flush(session);
            schedule_go_on(session);
            continue;
        }
        if (atomic_load_explicit(&session->ending, memory_order_acquire))
            note_bye(session, tally_zmq.msg_data(&message), tally_zmq.msg_size(&message));
        else if (tally_zmq.msg_more(&message))
            session_end(session, "bad message: more than one frame");
        else
            session_dispatch(session, tally_zmq.msg_data(&message), tally_zmq.msg_size(&message));
        tally_zmq.msg_close(&message);
        segment_count_op(session);
    }
}

static void *run(void *argument)
{
    struct session *session = argument;
    session_enter_thread(session);
    if (!timing_open(session))
        session_end(session, "the driver has no events left");
    receive(session);
    tear_down(session);
    news_post_closed(session);
    return NULL;
}

/* ---- opening -------------------------------------------------------------------------------- */

/* Before anything can fail: every part can be closed from now on. */
static void init_parts(struct session *session)
{
    books_init(session);
    memory_init(session);
    handover_init(session);
    replies_init(session);
    request_init(session);
    notices_open(&session->notices);
    waker_init(&session->waker);
    streams_init(session);
    events_init(session);
    modules_init(session);
    functions_init(session);
    completion_init(session);
    event_pool_init(session);
    waiter_init(&session->waits, session, "tally-wait", WAITER_THREADS_MAX);
    waiter_init(&session->reaper, session, "tally-reap", 1);
}

static bool prepare(struct session *session, struct tally_open_reply *reply, char *error,
                    size_t error_bytes)
{
    struct driver *driver = session->driver;
    if (driver->ops->tenant_open(driver, session->index, session->config.high, &session->tenant) !=
        CUDA_SUCCESS) {
        snprintf(error, error_bytes, "%s has no room for one more session", driver->ops->name);
        return false;
    }
    session_enter_thread(session);
    if (!memory_open(session, error, error_bytes) || !segment_open(session, error, error_bytes))
        return false;
    if (!sockets_open(session, reply)) {
        snprintf(error, error_bytes, "cannot open the session's sockets: %s",
                 tally_zmq.strerror(tally_zmq.error()));
        return false;
    }
    reply->segment_bytes = segment_bytes(session);
    reply->slot_count = session->config.slot_count;
    reply->slot_bytes = session->config.slot_bytes;
    driver->ops->tenant_region(driver, session->tenant, &reply->device_region_base,
                               &reply->device_region_bytes);
    roster_attach(session->engine->roster, session);
    if (!schedule_session_open(session)) {
        snprintf(error, error_bytes, "the scheduler has no room for one more session");
        return false;
    }
    return true;
}

static bool start(struct session *session)
{
    watcher_add(session->engine->watcher, session);
    if (pthread_create(&session->thread, NULL, run, session) != 0)
        return false;
    char name[16];
    snprintf(name, sizeof name, "tally-s%llu",
             (unsigned long long)session->config.session % 100000000ull);
    pthread_setname_np(session->thread, name);
    return true;
}

static void session_free(struct session *session)
{
    books_destroy(session); /* these two last: whoever ends a session uses them */
    waker_destroy(&session->waker);
    free(session);
}

struct session *session_create(struct tally_engine *engine,
                               const struct tally_session_config *config, uint32_t index,
                               struct tally_open_reply *reply, char *error, size_t error_bytes)
{
    struct session *session = calloc(1, sizeof *session);
    if (!session) {
        snprintf(error, error_bytes, "the executor is short of memory");
        return NULL;
    }
    session->engine = engine;
    session->driver = &engine->driver;
    session->config = *config;
    session->index = index;
    session->stats.session = config->session;
    int least, greatest;
    engine_stream_priorities(engine, &least, &greatest);
    session->priority = config->high ? greatest : least;
    init_parts(session);
    bool ready = prepare(session, reply, error, error_bytes);
    if (ready && !start(session)) {
        snprintf(error, error_bytes, "no thread is left for one more session");
        ready = false;
    }
    if (!ready) {
        session_end(session, "%s", error);
        tear_down(session);
        session_free(session);
        session = NULL;
    }
    if (session)
        session->driver->ops->tenant_enter(session->driver, 0); /* the caller's thread */
    return session;
}

void session_destroy(struct session *session)
{
    pthread_join(session->thread, NULL);
    session_free(session);
}
