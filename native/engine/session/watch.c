#include "engine/session/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/parts.h"
#include "engine/session/ending.h"
#include "engine/session/handover.h"
#include "engine/session/session.h"
#include "wire/zmq.h"

/* Per session: two monitors, and the socket on which its client is given memory. */
#define WATCHED 3

/* libzmq's sockets belong to one thread at a time: monitors are handed to the watcher's thread
 * under the lock, and only it polls, reads and closes them. */
struct watcher {
    pthread_mutex_t lock;
    pthread_cond_t stopped;
    struct session *sessions[SESSIONS_MAX];
    uint32_t count;
    bool stopping;
    int wake_fd;
    pthread_t thread;
};

static void close_monitors(struct session *session)
{
    for (int i = 0; i < 2; i++)
        if (session->watch.monitors[i])
            tally_zmq.close(session->watch.monitors[i]);
}

/* Under the lock: lets go of sessions that want to leave, lists the others. */
static int gather(struct watcher *watcher, struct tally_zmq_poll *items, struct session **whose)
{
    int count = 0;
    for (uint32_t i = 0; i < watcher->count;) {
        struct session *session = watcher->sessions[i];
        if (session->watch.stopping) {
            close_monitors(session);
            session->watch.stopped = true;
            watcher->sessions[i] = watcher->sessions[--watcher->count];
            pthread_cond_broadcast(&watcher->stopped);
            continue;
        }
        for (int k = 0; k < 2; k++) {
            whose[count] = session;
            items[count++] = (struct tally_zmq_poll){.socket = session->watch.monitors[k],
                                                     .events = TALLY_ZMQ_POLLIN};
        }
        whose[count] = session; /* -1 is passed over */
        items[count++] =
            (struct tally_zmq_poll){.fd = handover_listener(session), .events = TALLY_ZMQ_POLLIN};
        i++;
    }
    return count;
}

static bool is_connected(const struct session *session)
{
    return session->watch.connected[0] && session->watch.connected[1];
}

/* Milliseconds until the first client has to have connected; -1: none has to. */
static long wait_ms(struct session *const *whose, int count)
{
    uint64_t first_ns = UINT64_MAX, now_ns = engine_now_ns();
    for (int i = 0; i < count; i += WATCHED)
        if (!is_connected(whose[i]) && whose[i]->watch.connect_by_ns < first_ns)
            first_ns = whose[i]->watch.connect_by_ns;
    if (first_ns == UINT64_MAX)
        return -1;
    return first_ns > now_ns ? (long)((first_ns - now_ns) / 1000000u) + 1 : 0;
}

/* What a session holds would stay until the client's process ends, which may be never. */
static void give_up_if_late(struct session *session)
{
    if (is_connected(session) || engine_now_ns() < session->watch.connect_by_ns)
        return;
    session->watch.connect_by_ns = UINT64_MAX;
    session_end(session, "the client did not connect within %u ms",
                session->engine->config.connect_ms_max);
}

static void read_monitor(struct session *session, int which)
{
    void *monitor = session->watch.monitors[which];
    uint8_t event[16], address[256];
    int bytes;
    while ((bytes = tally_zmq.recv(monitor, event, sizeof event, TALLY_ZMQ_DONTWAIT)) >= 0) {
        uint16_t type = 0;
        if (bytes >= (int)sizeof type)
            memcpy(&type, event, sizeof type);
        tally_zmq.recv(monitor, address, sizeof address, TALLY_ZMQ_DONTWAIT);
        if (type == TALLY_ZMQ_EVENT_ACCEPTED)
            session->watch.connected[which] = true;
        if (type == TALLY_ZMQ_EVENT_DISCONNECTED) {
            session->client_gone = true;
            session_end(session, "the client is gone");
        }
    }
}

static void *run(void *argument)
{
    struct watcher *watcher = argument;
    struct tally_zmq_poll items[WATCHED * SESSIONS_MAX + 1];
    struct session *whose[WATCHED * SESSIONS_MAX];
    pthread_mutex_lock(&watcher->lock);
    while (!watcher->stopping) {
        int count = gather(watcher, items, whose);
        items[count] = (struct tally_zmq_poll){.fd = watcher->wake_fd, .events = TALLY_ZMQ_POLLIN};
        pthread_mutex_unlock(&watcher->lock);
        tally_zmq.poll(items, count + 1, wait_ms(whose, count));
        eventfd_t drained;
        if (items[count].revents)
            eventfd_read(watcher->wake_fd, &drained);
        for (int i = 0; i < count; i++) {
            if (items[i].revents && i % WATCHED < 2)
                read_monitor(whose[i], i % WATCHED);
            else if (items[i].revents)
                handover_accept(whose[i]);
        }
        for (int i = 0; i < count; i += WATCHED)
            give_up_if_late(whose[i]);
        pthread_mutex_lock(&watcher->lock);
    }
    pthread_mutex_unlock(&watcher->lock);
    return NULL;
}

struct watcher *watcher_create(void)
{
    struct watcher *watcher = calloc(1, sizeof *watcher);
    if (!watcher)
        return NULL;
    pthread_mutex_init(&watcher->lock, NULL);
    pthread_cond_init(&watcher->stopped, NULL);
    watcher->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = watcher->wake_fd < 0 ? errno : pthread_create(&watcher->thread, NULL, run, watcher);
    if (!error) {
        pthread_setname_np(watcher->thread, "tally-watch");
        return watcher;
    }
    if (watcher->wake_fd >= 0)
        close(watcher->wake_fd);
    free(watcher);
    errno = error;
    return NULL;
}

void watcher_destroy(struct watcher *watcher)
{
    pthread_mutex_lock(&watcher->lock);
    watcher->stopping = true;
    pthread_mutex_unlock(&watcher->lock);
    eventfd_write(watcher->wake_fd, 1);
    pthread_join(watcher->thread, NULL);
    close(watcher->wake_fd);
    pthread_cond_destroy(&watcher->stopped);
    pthread_mutex_destroy(&watcher->lock);
    free(watcher);
}

void watcher_add(struct watcher *watcher, struct session *session)
{
    uint32_t limit_ms = session->engine->config.connect_ms_max;
    session->watch.connect_by_ns = limit_ms ? engine_now_ns() + limit_ms * 1000000ull : UINT64_MAX;
    pthread_mutex_lock(&watcher->lock);
    watcher->sessions[watcher->count++] = session;
    session->watch.watched = true;
    pthread_mutex_unlock(&watcher->lock);
    eventfd_write(watcher->wake_fd, 1);
}

void watcher_remove(struct watcher *watcher, struct session *session)
{
    if (!session->watch.watched) {
        close_monitors(session); /* the session never got so far */
        return;
    }
    pthread_mutex_lock(&watcher->lock);
    session->watch.stopping = true;
    eventfd_write(watcher->wake_fd, 1);
    while (!session->watch.stopped)
        pthread_cond_wait(&watcher->stopped, &watcher->lock);
    pthread_mutex_unlock(&watcher->lock);
}
