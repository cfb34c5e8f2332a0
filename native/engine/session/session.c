/* A session's life: made by the engine's caller, run by its own thread, torn down by that thread. */
#include "engine/launch/gate.h"
#include "engine/launch/schedule.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/code/rewriter.h"
#include "engine/launch/rescue.h"
#include "engine/launch/timing.h"
#include "engine/memory/guard.h"
#include "engine/session/handover.h"
#include "engine/session/listener.h"

/* Messages that wait in either direction. libzmq counts messages, so their number is what the greatest ones may
 * take up; the client's side holds more. */
#define QUEUED_MIN 16
#define REPLIES_HWM 64
#define MONITORED (TALLY_ZMQ_EVENT_ACCEPTED | TALLY_ZMQ_EVENT_DISCONNECTED)
#define DRAIN_MESSAGES_MAX 4096
#define BYE_WAIT_MS 50

/* ---- ending ---- */

void session_end(struct session *session, const char *format, ...)
{
    bool given = false;
    if (!atomic_compare_exchange_strong(&session->reason_given, &given, true))
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(session->reason, sizeof session->reason, format, arguments);
    va_end(arguments);
    atomic_store(&session->ending, true);
    /* Any message wakes the thread; it looks at `ending` before it looks at the message. It may be inside
     * softgpu's compiler, too. While there is a waker the tenant is the session's. */
    pthread_mutex_lock(&session->wake_lock);
    if (session->waker)
        tally_zmq.send(session->waker, "", 0, TALLY_ZMQ_DONTWAIT);
    if (session->waker && session->tenant_made)
        session->driver->soft.tenant_leave(session->tenant);
    pthread_mutex_unlock(&session->wake_lock);
    schedule_wake(session);
}

void session_call(struct session *session)
{
    if (atomic_exchange(&session->called, true))
        return;
    pthread_mutex_lock(&session->wake_lock);
    if (session->waker && tally_zmq.send(session->waker, "", 0, TALLY_ZMQ_DONTWAIT) < 0)
        atomic_store(&session->called, false);
    pthread_mutex_unlock(&session->wake_lock);
}

void session_enter_thread(struct session *session)
{
    session->driver->cu.cuCtxSetCurrent(engine_context(session->engine));
    if (session->tenant_made)
        session->driver->soft.tenant_set(session->tenant);
}

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

static void socket_path(const struct session *session, const char *name, char out[256])
{
    const struct tally_engine_config *config = engine_config(session->engine);
    snprintf(out, 256, "%s/s%llu-%u.%s", config->runtime_dir, (unsigned long long)session->config.session,
             config->device, name);
}

struct tally_gate_peer session_peer(const struct session *session)
{
    const struct tally_session_config *config = &session->config;
    return (struct tally_gate_peer){
        .uid = config->uid, .gid = config->gid, .pid = config->pid, .process = config->process};
}

/* libzmq closes sockets, and leaves their files. */
static void remove_socket_files(const struct session *session)
{
    char path[256];
    socket_path(session, "ops", path);
    unlink(path);
    socket_path(session, "replies", path);
    unlink(path);
    socket_path(session, "memory", path);
    unlink(path);
}

static void close_sockets(struct session *session)
{
    pthread_mutex_lock(&session->wake_lock);
    if (session->waker)
        tally_zmq.close(session->waker);
    session->waker = NULL;
    pthread_mutex_unlock(&session->wake_lock);
    if (session->ops)
        tally_zmq.close(session->ops);
    session->ops = NULL;
    replies_close(session);
    handover_close(session);
    remove_socket_files(session);
}

static void events_close(struct session *session)
{
    for (uint32_t i = 0; i < session->events.room; i++)
        if (session->events.items[i])
            shared_event_put(session, session->events.items[i]);
    table_clear(&session->events);
}

/* Work that is queued or runs: softgpu drops and interrupts it. A real device cannot; it is waited for. */
static void stop_work(struct session *session)
{
    if (session->tenant_made)
        session->driver->soft.tenant_stop(session->tenant);
    else {
        gates_release(session);
        streams_release(session);
    }
    waiter_stop(&session->waits);
    waiter_stop(&session->reaper);
    waiter_stop(&session->completions);
    schedule_session_close(session);
    for (struct stream *stream = session->stream_list; stream && !session->tenant_made; stream = stream->next)
        session->driver->cu.cuStreamSynchronize(stream->driver);
}

/* Before their readers go: libzmq's I/O thread would block on an event that nobody takes. */
static void stop_monitors(struct session *session)
{
    if (session->ops)
        tally_zmq.socket_monitor(session->ops, NULL, 0);
    if (session->replies.socket)
        tally_zmq.socket_monitor(session->replies.socket, NULL, 0);
}

static void tear_down(struct session *session)
{
    segment_mark_closed(session);
    stop_monitors(session);
    engine_unwatch(session);
    stop_work(session);
    if (session->client_gone)
        look_for_bye(session);
    timing_close(session);
    control_close(session);
    gates_close(session);
    rescue_close(session);
    events_close(session);
    streams_close(session);
    table_clear(&session->streams);
    rewriter_forget(engine_rewriter(session->engine), session);
    modules_close(session);
    event_pool_close(session);
    engine_detach(session); /* from here on nobody but this thread touches segment and memory */
    memory_close(session);
    segment_close(session);
    close_sockets(session);
    engine_release(session); /* last: with the tenant's number go its address ranges, which are free by now */
    pthread_mutex_destroy(&session->memory.lock);
    pthread_mutex_destroy(&session->handover.lock);
    pthread_cond_destroy(&session->memory.freed);
    pthread_mutex_destroy(&session->request.lock);
    notices_close(&session->notices);
    pthread_mutex_destroy(&session->lanes_lock);
    pthread_mutex_destroy(&session->streams_lock);
}

/* ---- the thread ---- */

static void receive(struct session *session)
{
    struct tally_zmq_message message;
    uint64_t handled = 0;
    while (!atomic_load_explicit(&session->ending, memory_order_acquire)) {
        tally_zmq.msg_init(&message);
        if (tally_zmq.msg_recv(&message, session->ops, 0) < 0) {
            if (tally_zmq.error() != EINTR)
                session_end(session, "the ops socket failed: %s", tally_zmq.strerror(tally_zmq.error()));
            continue;
        }
        if (tally_zmq.msg_size(&message) == 0 && atomic_exchange(&session->called, false)) {
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
        shared_store_wide(session, &session->segment.page->ops_handled, ++handled);
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
    engine_closed(session);
    return NULL;
}

/* ---- opening ---- */

static int ops_queued_max(const struct session *session)
{
    uint64_t messages = engine_config(session->engine)->queue_bytes_max / TALLY_MESSAGE_BYTES_MAX;
    return messages > QUEUED_MIN ? (int)messages : QUEUED_MIN;
}

/* A bound socket at path that takes one connection, of the session's peer. */
static void *bind_socket(struct session *session, int type, const char *path, const char *monitor)
{
    struct tally_gate_peer peer = session_peer(session);
    void *socket = tally_zmq.socket(engine_zmq(session->engine), type);
    int listener = socket ? listener_open(path, SOCK_STREAM, &peer) : -1;
    if (listener < 0) {
        if (socket)
            tally_zmq.close(socket);
        return NULL;
    }
    tally_gate_reserve(listener, &peer);
    char endpoint[300];
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    int64_t bytes_max = TALLY_MESSAGE_BYTES_MAX;
    if (tally_zmq_set(socket, TALLY_ZMQ_LINGER, 0) == 0 &&
        tally_zmq_set(socket, TALLY_ZMQ_RCVHWM, ops_queued_max(session)) == 0 &&
        tally_zmq_set(socket, TALLY_ZMQ_SNDHWM, REPLIES_HWM) == 0 &&
        tally_zmq.setsockopt(socket, TALLY_ZMQ_MAXMSGSIZE, &bytes_max, sizeof bytes_max) == 0 &&
        tally_zmq.socket_monitor(socket, monitor, MONITORED) == 0 &&
        tally_zmq_set(socket, TALLY_ZMQ_USE_FD, listener) == 0 && tally_zmq.bind(socket, endpoint) == 0)
        return socket; /* which closes the listener in the end */
    close(listener);
    tally_zmq.close(socket);
    return NULL;
}

static void *pair_with(struct session *session, const char *endpoint)
{
    void *socket = tally_zmq.socket(engine_zmq(session->engine), TALLY_ZMQ_PAIR);
    if (!socket || tally_zmq_set(socket, TALLY_ZMQ_LINGER, 0) != 0 || tally_zmq.connect(socket, endpoint) != 0) {
        if (socket)
            tally_zmq.close(socket);
        return NULL;
    }
    return socket;
}

static bool open_sockets(struct session *session, struct tally_open_reply *reply)
{
    unsigned long long number = session->config.session;
    char monitors[2][64], wake[64], paths[3][256];
    snprintf(monitors[0], sizeof monitors[0], "inproc://ops-%llu", number);
    snprintf(monitors[1], sizeof monitors[1], "inproc://replies-%llu", number);
    snprintf(wake, sizeof wake, "inproc://wake-%llu", number);
    socket_path(session, "ops", paths[0]);
    socket_path(session, "replies", paths[1]);
    socket_path(session, "memory", paths[2]);
    session->ops = bind_socket(session, TALLY_ZMQ_PULL, paths[0], monitors[0]);
    session->replies.socket = bind_socket(session, TALLY_ZMQ_PUSH, paths[1], monitors[1]);
    if (!handover_open(session, paths[2]))
        return false;
    if (!session->ops || !session->replies.socket || !replies_open(session) || tally_zmq.bind(session->ops, wake) != 0)
        return false;
    session->waker = tally_zmq.socket(engine_zmq(session->engine), TALLY_ZMQ_PUSH);
    session->watch.monitors[0] = pair_with(session, monitors[0]);
    session->watch.monitors[1] = pair_with(session, monitors[1]);
    snprintf(reply->ops, sizeof reply->ops, "ipc://%.249s", paths[0]);
    snprintf(reply->replies, sizeof reply->replies, "ipc://%.249s", paths[1]);
    snprintf(reply->segment, sizeof reply->segment, "%s", paths[2]);
    return session->waker && tally_zmq_set(session->waker, TALLY_ZMQ_LINGER, 0) == 0 &&
           tally_zmq.connect(session->waker, wake) == 0 && session->watch.monitors[0] && session->watch.monitors[1];
}

static void init_locks(struct session *session)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&session->memory.freed, &monotonic);
    pthread_cond_init(&session->turn, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&session->memory.lock, NULL);
    pthread_mutex_init(&session->handover.lock, NULL);
    pthread_mutex_init(&session->replies.lock, NULL);
    pthread_mutex_init(&session->replies.output_lock, NULL);
    pthread_mutex_init(&session->request.lock, NULL);
    notices_open(&session->notices);
    pthread_mutex_init(&session->wake_lock, NULL);
    pthread_mutex_init(&session->lanes_lock, NULL);
    pthread_mutex_init(&session->streams_lock, NULL);
    pthread_mutex_init(&session->events_free.lock, NULL);
    waiter_init(&session->waits, session, "tally-wait", WAITER_THREADS_MAX);
    waiter_init(&session->reaper, session, "tally-reap", 1);
    waiter_init(&session->completions, session, "tally-ends", WAITER_THREADS_MAX);
}

static bool prepare(struct session *session, struct tally_open_reply *reply, char *error, size_t error_bytes)
{
    if (session->driver->is_soft) {
        session->tenant_made = session->driver->soft.tenant_create(&session->tenant) == CUDA_SUCCESS;
        if (!session->tenant_made) {
            snprintf(error, error_bytes, "softgpu has no room for one more session");
            return false;
        }
        session->driver->soft.tenant_set_urgent(session->tenant, session->config.high);
    }
    session_enter_thread(session);
    if (!memory_open(session, error, error_bytes) || !segment_open(session, error, error_bytes))
        return false;
    if (!open_sockets(session, reply)) {
        snprintf(error, error_bytes, "cannot open the session's sockets: %s", tally_zmq.strerror(tally_zmq.error()));
        return false;
    }
    reply->segment_bytes = session->segment.bytes;
    reply->slot_count = session->config.slot_count;
    reply->slot_bytes = session->config.slot_bytes;
    if (session->tenant_made)
        session->driver->soft.tenant_region(session->tenant, &reply->device_region_base, &reply->device_region_bytes);
    engine_attach(session);
    if (!schedule_session_open(session)) {
        snprintf(error, error_bytes, "the scheduler has no room for one more session");
        return false;
    }
    return true;
}

static bool start(struct session *session)
{
    engine_watch(session);
    if (pthread_create(&session->thread, NULL, run, session) != 0)
        return false;
    char name[16];
    snprintf(name, sizeof name, "tally-s%llu", (unsigned long long)session->config.session % 100000000ull);
    pthread_setname_np(session->thread, name);
    return true;
}

struct session *session_create(struct tally_engine *engine, const struct tally_session_config *config, uint32_t index,
                               struct tally_open_reply *reply, char *error, size_t error_bytes)
{
    struct session *session = calloc(1, sizeof *session);
    if (!session) {
        snprintf(error, error_bytes, "the executor is short of memory");
        return NULL;
    }
    session->engine = engine;
    session->driver = engine_library(engine);
    session->config = *config;
    session->index = index;
    session->stats.session = config->session;
    session->streams.kind = TALLY_KIND_STREAM;
    session->events.kind = TALLY_KIND_EVENT;
    session->modules.kind = TALLY_KIND_MODULE;
    session->functions.kind = TALLY_KIND_FUNCTION;
    int least, greatest;
    engine_stream_priorities(engine, &least, &greatest);
    session->priority = config->high ? greatest : least;
    init_locks(session);
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
    if (session && session->tenant_made)
        session->driver->soft.tenant_set(0); /* of the caller's thread */
    return session;
}

void session_destroy(struct session *session)
{
    pthread_join(session->thread, NULL);
    session_free(session);
}

void session_free(struct session *session)
{
    pthread_cond_destroy(&session->turn); /* like wake_lock: whoever ends a session uses it last */
    pthread_mutex_destroy(&session->wake_lock);
    free(session);
}
