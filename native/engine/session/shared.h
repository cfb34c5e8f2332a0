/* Host memory that a session shares with its client: files without a name, whose size is sealed,
 * so that nobody meets one by guessing, leaves one behind, or cuts one short while the other
 * side uses it. */
#ifndef TALLY_ENGINE_SHARED_H
#define TALLY_ENGINE_SHARED_H

#include <stdint.h>

struct session;

/* A file of so many bytes, whole pages, which are there and zero; it counts as the session's until
 * shared_release. `number` tells the session's files apart in /proc, for people. -1 and errno. */
int shared_create(struct session *session, uint64_t number, uint64_t bytes);
void shared_release(struct session *session, uint64_t bytes);

#endif
