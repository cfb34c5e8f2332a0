/* Touching memory that a client can take away. Its files are its own: it may truncate them while
 * the executor reads or writes, which raises SIGBUS here. That must cost the session, not the
 * process. */
#ifndef TALLY_ENGINE_GUARD_H
#define TALLY_ENGINE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct session;

/* Installs the handler in front of whatever handles SIGBUS now; once per process, after the driver
 * is up. */
bool guard_install(void);

/* All three: if the memory was gone, the session is ended and the access counts as not made. */
void shared_store(struct session *session, uint32_t *address, uint32_t value);
void shared_store_wide(struct session *session, uint64_t *address, uint64_t value);
bool shared_read(struct session *session, void *out, const void *address, size_t bytes);

#endif
