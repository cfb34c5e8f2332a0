/* From a received message to the function that serves it. */
#ifndef TALLY_ENGINE_DISPATCH_H
#define TALLY_ENGINE_DISPATCH_H

#include <stddef.h>

struct session;

/* Session thread. */
void session_dispatch(struct session *session, const void *bytes, size_t size);

#endif
