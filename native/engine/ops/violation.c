#include "engine/ops/violation.h"

#include "engine/ops/message.h"
#include "engine/session/ending.h"

void session_violation(struct session *session, const struct message *message, const char *what)
{
    session_end(session, "bad message (op %u, %zu bytes): %s", message->op.code, message->size,
                what);
}
