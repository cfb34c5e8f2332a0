/* cuStreamWriteValue and cuStreamWaitValue on the session's own memory. */
#ifndef TALLY_ENGINE_STREAM_VALUE_H
#define TALLY_ENGINE_STREAM_VALUE_H

#include "engine/ops/message.h"

/* Real devices cannot drop what is queued: gives streams the values that they wait for, until none
 * waits. */
void streams_release(struct session *session);

#endif
