/* How shared memory comes to the client: its file, as a descriptor, over a unix socket of the
 * session. That works wherever the client can reach the socket: in another mount namespace, with
 * a /dev/shm of its own. */
#ifndef TALLY_ENGINE_HANDOVER_H
#define TALLY_ENGINE_HANDOVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct session;

/* Descriptors; 0: none. */
struct handover {
    pthread_mutex_t lock; /* connection */
    int connection;
    int listener, segment_fd; /* until the client has connected; then the watcher's */
};

void handover_init(struct session *session);
/* Makes the socket; takes the segment's file, which the client is given when it connects. */
bool handover_open(struct session *session, const char *path);
/* The descriptor to watch for a client that connects; -1: none, any more. */
int handover_listener(const struct session *session);
/* That descriptor is readable. The watcher's thread. */
void handover_accept(struct session *session);
/* Gives the client a file, which stays the caller's. false: the client does not take it. */
bool handover_send(struct session *session, uint64_t number, uint64_t bytes, int fd);
/* Nobody watches any more. */
void handover_close(struct session *session);

#endif
