/* Clients' events. */
#ifndef TALLY_ENGINE_EVENT_H
#define TALLY_ENGINE_EVENT_H

#include "engine/ops/message.h"

struct shared_event;

void events_init(struct session *session);
/* NULL: there is none. */
struct shared_event *event_find(const struct session *session, uint64_t handle);
void events_close(struct session *session);

#endif
