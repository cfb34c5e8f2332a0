/* The sockets that a session's client connects to. */
#ifndef TALLY_ENGINE_LISTENER_H
#define TALLY_ENGINE_LISTENER_H

#include "wire/gate.h"

struct session;

/* A listening unix socket of `type` at `path`, for one process's connections alone. -1 and
 * errno. */
int listener_open(const char *path, int type, const struct tally_gate_peer *peer);
/* The one process that may connect. */
struct tally_gate_peer session_peer(const struct session *session);

#endif
