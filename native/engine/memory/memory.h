/* Device memory of a session, and its part of the address space. */
#ifndef TALLY_ENGINE_MEMORY_H
#define TALLY_ENGINE_MEMORY_H

#include <pthread.h>

#include "engine/memory/ranges.h"
#include "engine/ops/message.h"

struct memory {
    pthread_mutex_t lock;
    pthread_cond_t freed; /* a deferred free is through */
    struct ranges ranges;
    struct pinned_area *pinned; /* by base */
    uint32_t pinned_count, pinned_room;
    uint64_t pinned_number;
    uint64_t used_bytes, peak_bytes, frees_pending;
};

void memory_init(struct session *session);
bool memory_open(struct session *session, char *error, size_t error_bytes);
/* What the session may name all of [address, address + bytes) as; RANGE_NONE: nothing. Any
 * thread. */
enum range_kind memory_kind(struct session *session, uint64_t address, uint64_t bytes);
/* A module's variable, which may have been asked for before; and all of one that goes. */
void memory_add_global(struct session *session, uint64_t address, uint64_t bytes,
                       const void *module);
void memory_drop_globals(struct session *session, const void *module);
/* The session's work is over and its waiters are stopped. */
void memory_close(struct session *session);

#endif
