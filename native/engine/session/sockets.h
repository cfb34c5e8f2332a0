/* A session's sockets: ops in, replies out, memory handed over; each takes one connection, of the
 * session's peer. */
#ifndef TALLY_ENGINE_SOCKETS_H
#define TALLY_ENGINE_SOCKETS_H

#include <stdbool.h>

#include "tally/protocol.h"

struct session;

/* The reply gets their names. */
bool sockets_open(struct session *session, struct tally_open_reply *reply);
void sockets_stop_monitors(struct session *session);
void sockets_close(struct session *session);

#endif
