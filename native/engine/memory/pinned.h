/* Pinned host memory of a session: files that it shares with its client, at addresses of its
 * own. */
#ifndef TALLY_ENGINE_PINNED_H
#define TALLY_ENGINE_PINNED_H

#include "engine/ops/message.h"

struct pinned_area {
    uint64_t base, bytes; /* whole pages */
    uint64_t number;      /* tells the client which file it is */
};

void pinned_close(struct session *session);

#endif
