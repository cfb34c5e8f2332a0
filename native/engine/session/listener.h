/* The sockets that a session's client connects to. */
#ifndef TALLY_ENGINE_LISTENER_H
#define TALLY_ENGINE_LISTENER_H

#include "wire/gate.h"

/* A listening unix socket of `type` at `path`, for one process's connections alone. -1 and
 * errno. */
int listener_open(const char *path, int type, const struct tally_gate_peer *peer);

#endif
