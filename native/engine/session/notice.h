/* What the user of a program is told about it: on the program's standard error, in tallyd's log,
 * and by `tally doctor`. One line a reason, each once a session. */
#ifndef TALLY_ENGINE_NOTICE_H
#define TALLY_ENGINE_NOTICE_H

#include <pthread.h>
#include <stdint.h>

struct session;

#define NOTICES_MAX 8u /* different ones in a session; what comes later is dropped */

struct notices {
    pthread_mutex_t lock;
    uint64_t seen[NOTICES_MAX]; /* hashes */
    uint32_t count;
};

void notices_open(struct notices *notices);
void notices_close(struct notices *notices);

/* Any thread, without locks; waits for nobody. The line reaches the client ahead of every reply
 * that is made after this returns, and soon even if there is none. */
void session_tell(struct session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
