/* One thread that watches all sessions' sockets for clients that do not come, or go away. */
#ifndef TALLY_ENGINE_WATCH_H
#define TALLY_ENGINE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct session;
struct watcher;

/* Of one session; the watcher's, under its lock. */
struct watch {
    void *monitors[2]; /* of ops, of replies */
    bool connected[2];
    uint64_t connect_by_ns; /* when a client that has not connected is given up */
    bool watched, stopping, stopped;
};

/* NULL and errno. */
struct watcher *watcher_create(void);
void watcher_destroy(struct watcher *watcher); /* no session may be watched any more */
void watcher_add(struct watcher *watcher, struct session *session);
/* Closes the session's monitors; on return the watcher does not know the session any more. */
void watcher_remove(struct watcher *watcher, struct session *session);

#endif
