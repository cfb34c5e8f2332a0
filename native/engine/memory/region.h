/* A session's part of the address space: its segment lies at the start, pinned memory behind it. */
#ifndef TALLY_ENGINE_REGION_H
#define TALLY_ENGINE_REGION_H

#include <stdint.h>

struct session;

/* Where it begins; it is TALLY_PINNED_BYTES long. The session has its tenant. */
uint64_t region_base(const struct session *session);

#endif
