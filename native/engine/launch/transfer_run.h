/* A transfer's way to the driver: as few calls as its boxes allow. */
#ifndef TALLY_ENGINE_TRANSFER_RUN_H
#define TALLY_ENGINE_TRANSFER_RUN_H

#include "engine/launch/transfer.h"

struct session;
struct stream;

/* Takes parts [lo, hi) to the device, now; their end is reported with the tag, if not 0. */
CUresult transfer_run(struct session *session, struct stream *stream,
                      const struct transfer *transfer, uint32_t lo, uint32_t hi, uint64_t tag);

#endif
