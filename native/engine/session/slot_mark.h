/* Slots of the segment come back to the client once a stream has got there. */
#ifndef TALLY_ENGINE_SLOT_MARK_H
#define TALLY_ENGINE_SLOT_MARK_H

#include <stdint.h>

struct session;
struct stream;

/* Stores done[slot] once the stream got here (stream NULL: now). */
void slot_mark(struct session *session, struct stream *stream, uint32_t slot, uint32_t sequence);

#endif
