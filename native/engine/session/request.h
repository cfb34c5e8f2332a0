/* Request latency: from the first work after idle until the blocking wait that returns the session
 * to idle. A wait returns it to idle if no work came after the wait itself. */
#ifndef TALLY_ENGINE_REQUEST_H
#define TALLY_ENGINE_REQUEST_H

#include <pthread.h>
#include <stdint.h>

struct session;

struct request {
    pthread_mutex_t lock;
    uint64_t started_ns; /* 0: idle */
    uint64_t work;       /* ops that gave the device work so far */
};

void request_init(struct session *session);
void request_close(struct session *session);
void request_work(struct session *session, uint64_t now_ns);
uint64_t request_mark(struct session *session);
void request_done(struct session *session, uint64_t mark);

#endif
