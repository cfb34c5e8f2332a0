/* The session's segment: one piece of shared memory with the page and the slots. */
#ifndef TALLY_ENGINE_SEGMENT_H
#define TALLY_ENGINE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tally/cuda.h"
#include "tally/protocol.h"

struct session;

struct segment {
    uint8_t *base; /* page, then slots; lies at the start of the session's pinned region */
    size_t bytes;
    struct tally_session_page *page;
    uint8_t *slots;
    int file;           /* until handover_open takes it; 0: none */
    uint64_t handled;   /* ops */
    bool pinned;        /* for the driver */
    bool stream_writes; /* the driver can store done marks in stream order */
};

bool segment_open(struct session *session, char *error, size_t error_bytes);
void segment_close(struct session *session);
size_t segment_bytes(const struct session *session);
/* Its file, which is the caller's to close from now on. */
int segment_take_file(struct session *session);
/* The bytes of a slot; of the first one, of all. */
uint8_t *segment_slot(const struct session *session, uint32_t slot);
/* The client's words: how many ops have been handled; the sticky error, which every call of it
 * looks at. */
void segment_count_op(struct session *session);
void segment_set_sticky(struct session *session, CUresult error);
/* Tells the client that its session is over, and why. */
void segment_mark_closed(struct session *session);
#endif
