/* One thread that watches all sessions' sockets for clients that do not come, or go away. */
#ifndef TALLY_ENGINE_WATCH_H
#define TALLY_ENGINE_WATCH_H

struct session;
struct watcher;

/* NULL and errno. */
struct watcher *watcher_create(void);
void watcher_destroy(struct watcher *watcher); /* no session may be watched any more */
void watcher_add(struct watcher *watcher, struct session *session);
/* Closes the session's monitors; on return the watcher does not know the session any more. */
void watcher_remove(struct watcher *watcher, struct session *session);

#endif
