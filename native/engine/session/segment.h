/* The session's segment: one piece of shared memory with the page and the slots. */
#ifndef TALLY_ENGINE_SEGMENT_H
#define TALLY_ENGINE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tally/protocol.h"

struct session;
struct stream;

struct segment {
    uint8_t *base; /* page, then slots; lies at the start of the session's pinned region */
    size_t bytes;
    struct tally_session_page *page;
    uint8_t *slots;
    int file; /* until handover_open takes it; 0: none */
    bool stream_writes; /* the driver can store done marks in stream order */
};

bool segment_open(struct session *session, char *error, size_t error_bytes);
void segment_close(struct session *session);
/* Tells the client that its session is over, and why. */
void segment_mark_closed(struct session *session);
/* Stores done[slot] once the stream got here (stream NULL: now). */
void segment_mark(struct session *session, struct stream *stream, uint32_t slot, uint32_t sequence);

#endif
