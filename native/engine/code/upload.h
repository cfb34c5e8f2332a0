/* Images that come in pieces, through slots. */
#ifndef TALLY_ENGINE_UPLOAD_H
#define TALLY_ENGINE_UPLOAD_H

#include "engine/ops/message.h"

#define UPLOADS_MAX 8u /* unfinished ones of a session */

struct upload {
    uint64_t id; /* 0: free */
    uint64_t total;
    uint8_t *bytes; /* total + 1, zeroed */
};

/* Its bytes, total + 1 of them, which are the caller's now; NULL: there is no such upload. */
uint8_t *upload_take(struct session *session, uint64_t id, uint64_t *total);
void uploads_close(struct session *session);

#endif
