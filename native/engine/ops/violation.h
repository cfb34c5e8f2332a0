/* Clients that break the protocol. */
#ifndef TALLY_ENGINE_VIOLATION_H
#define TALLY_ENGINE_VIOLATION_H

#include "engine/ops/message.h"

/* Names what the client did wrong and ends its session. */
void session_violation(struct session *session, const struct message *message, const char *what);

#endif
