#include "engine/memory/region.h"

#include "engine/session/session.h"
#include "tally/address.h"

uint64_t region_base(const struct session *session)
{
    return TALLY_PINNED_BASE(session->engine->config.device) + session->tenant * TALLY_PINNED_BYTES;
}
