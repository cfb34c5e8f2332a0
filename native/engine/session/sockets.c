#include "engine/session/sockets.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/session/ending.h"
#include "engine/session/handover.h"
#include "engine/session/listener.h"
#include "engine/session/reply.h"
#include "engine/session/session.h"
#include "wire/gate.h"
#include "wire/zmq.h"

/* Messages that wait in either direction. libzmq counts messages, so their number is what the
 * greatest ones may take up; the client's side holds more. */
#define QUEUED_MIN 16
#define REPLIES_HWM 64
#define MONITORED (TALLY_ZMQ_EVENT_ACCEPTED | TALLY_ZMQ_EVENT_DISCONNECTED)

static void socket_path(const struct session *session, const char *name, char out[256])
{
    const struct tally_engine_config *config = &session->engine->config;
    snprintf(out, 256, "%s/s%llu-%u.%s", config->runtime_dir,
             (unsigned long long)session->config.session, config->device, name);
}

static int ops_queued_max(const struct session *session)
{
    uint64_t messages = session->engine->config.queue_bytes_max / TALLY_MESSAGE_BYTES_MAX;
    return messages > QUEUED_MIN ? (int)messages : QUEUED_MIN;
}

/* A bound socket at path that takes one connection, of the session's peer. */
static void *bind_socket(struct session *session, int type, const char *path, const char *monitor)
{
    struct tally_gate_peer peer = session_peer(session);
    void *socket = tally_zmq.socket(session->engine->zmq, type);
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
        tally_zmq_set(socket, TALLY_ZMQ_USE_FD, listener) == 0 &&
        tally_zmq.bind(socket, endpoint) == 0)
        return socket; /* which closes the listener in the end */
    close(listener);
    tally_zmq.close(socket);
    return NULL;
}

static void *pair_with(struct session *session, const char *endpoint)
{
    void *socket = tally_zmq.socket(session->engine->zmq, TALLY_ZMQ_PAIR);
    if (!socket || tally_zmq_set(socket, TALLY_ZMQ_LINGER, 0) != 0 ||
        tally_zmq.connect(socket, endpoint) != 0) {
        if (socket)
            tally_zmq.close(socket);
        return NULL;
    }
    return socket;
}

bool sockets_open(struct session *session, struct tally_open_reply *reply)
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
    if (!session->ops || !session->replies.socket || !replies_open(session) ||
        tally_zmq.bind(session->ops, wake) != 0)
        return false;
    session->waker.socket = tally_zmq.socket(session->engine->zmq, TALLY_ZMQ_PUSH);
    session->watch.monitors[0] = pair_with(session, monitors[0]);
    session->watch.monitors[1] = pair_with(session, monitors[1]);
    snprintf(reply->ops, sizeof reply->ops, "ipc://%.249s", paths[0]);
    snprintf(reply->replies, sizeof reply->replies, "ipc://%.249s", paths[1]);
    snprintf(reply->segment, sizeof reply->segment, "%s", paths[2]);
    return session->waker.socket &&
           tally_zmq_set(session->waker.socket, TALLY_ZMQ_LINGER, 0) == 0 &&
           tally_zmq.connect(session->waker.socket, wake) == 0 && session->watch.monitors[0] &&
           session->watch.monitors[1];
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

/* Before their readers go: libzmq's I/O thread would block on an event that nobody takes. */
void sockets_stop_monitors(struct session *session)
{
    if (session->ops)
        tally_zmq.socket_monitor(session->ops, NULL, 0);
    if (session->replies.socket)
        tally_zmq.socket_monitor(session->replies.socket, NULL, 0);
}

void sockets_close(struct session *session)
{
    waker_close(&session->waker);
    if (session->ops)
        tally_zmq.close(session->ops);
    session->ops = NULL;
    replies_close(session);
    handover_close(session);
    remove_socket_files(session);
}
