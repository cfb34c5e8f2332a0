/* The codec's lower half, shared by shim and engine: bounded reading of received bytes, and sending
 * a struct with its tail as one frame. Received frames may lie unaligned in libzmq's buffers, hence
 * everything is copied out, never cast. */
#ifndef TALLY_WIRE_MESSAGE_H
#define TALLY_WIRE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tally/protocol.h"
#include "wire/zmq.h"

struct tally_reader {
    const uint8_t *at;
    size_t left;
    bool bad; /* something was asked for that was not there; stays set */
};

static inline struct tally_reader tally_reader_of(const void *bytes, size_t count)
{
    return (struct tally_reader){.at = bytes, .left = count, .bad = false};
}

/* The next `bytes` bytes in place (unaligned!), or NULL. */
static inline const void *tally_reader_take(struct tally_reader *reader, size_t bytes)
{
    if (reader->bad || bytes > reader->left) {
        reader->bad = true;
        return NULL;
    }
    const void *at = reader->at;
    reader->at += bytes;
    reader->left -= bytes;
    return at;
}

/* Copies the next `bytes` bytes to `out`; on false `out` is zeroed. */
static inline bool tally_reader_copy(struct tally_reader *reader, void *out, size_t bytes)
{
    const void *at = tally_reader_take(reader, bytes);
    if (!at) {
        memset(out, 0, bytes);
        return false;
    }
    memcpy(out, at, bytes);
    return true;
}

/* True when all was read and nothing was missing. */
static inline bool tally_reader_end(const struct tally_reader *reader)
{
    return !reader->bad && reader->left == 0;
}

/* Checks the header of a received op: size as said, within the limit, no unknown flags. */
static inline bool tally_op_read(const void *bytes, size_t count, struct tally_op *op)
{
    struct tally_reader reader = tally_reader_of(bytes, count);
    return tally_reader_copy(&reader, op, sizeof *op) && op->bytes == count &&
           count <= TALLY_MESSAGE_BYTES_MAX && op->flags == 0;
}

/* The same for a reply. */
static inline bool tally_reply_read(const void *bytes, size_t count, struct tally_reply *reply)
{
    struct tally_reader reader = tally_reader_of(bytes, count);
    return tally_reader_copy(&reader, reply, sizeof *reply) && reply->bytes == count &&
           count <= TALLY_MESSAGE_BYTES_MAX && reply->kind <= TALLY_REPLY_STDERR;
}

/* A whole received op as a fixed struct: `out` gets exactly `fixed` bytes, `tail` (may be NULL) the
 * rest. Without `tail` the message must end there. */
static inline bool tally_op_split(const void *bytes, size_t count, void *out, size_t fixed,
                                  struct tally_reader *tail)
{
    struct tally_reader reader = tally_reader_of(bytes, count);
    if (!tally_reader_copy(&reader, out, fixed))
        return false;
    if (tail) {
        *tail = reader;
        return true;
    }
    return tally_reader_end(&reader);
}

/* A message of head and tail in one frame, ready to be sent. 0 or -1 (no memory). */
int tally_message_build(struct tally_zmq_message *message, const void *head, size_t head_bytes,
                        const void *tail, size_t tail_bytes);

/* Builds and sends; 0 or -1 with tally_zmq.error() telling why (EAGAIN: full). */
int tally_message_send(void *socket, const void *head, size_t head_bytes, const void *tail,
                       size_t tail_bytes, int flags);

/* Control plane: header and payload as two frames. */
int tally_control_send(void *socket, uint16_t type, uint32_t sequence, const void *payload,
                       size_t bytes, int flags);

/* Receives one control reply of at most `capacity` payload bytes. Returns the payload's size or -1:
 * time-out (EAGAIN), or a message that is malformed, too large, or of more frames than two
 * (EPROTO). */
long tally_control_receive(void *socket, struct tally_control_header *header, void *payload,
                           size_t capacity);

#endif
