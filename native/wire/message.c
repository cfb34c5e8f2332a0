#include "wire/message.h"

#include <errno.h>

#include "tally/assert.h"

int tally_message_build(struct tally_zmq_message *message, const void *head, size_t head_bytes,
                        const void *tail, size_t tail_bytes)
{
    TALLY_ASSERT(head_bytes + tail_bytes <= TALLY_MESSAGE_BYTES_MAX && (tail || !tail_bytes));
    if (tally_zmq.msg_init_size(message, head_bytes + tail_bytes) != 0)
        return -1;
    uint8_t *data = tally_zmq.msg_data(message);
    memcpy(data, head, head_bytes);
    if (tail_bytes)
        memcpy(data + head_bytes, tail, tail_bytes);
    return 0;
}

int tally_message_send(void *socket, const void *head, size_t head_bytes, const void *tail,
                       size_t tail_bytes, int flags)
{
    if (!tail_bytes) /* one call into libzmq less */
        return tally_zmq.send(socket, head, head_bytes, flags) < 0 ? -1 : 0;
    struct tally_zmq_message message;
    if (tally_message_build(&message, head, head_bytes, tail, tail_bytes) != 0)
        return -1;
    if (tally_zmq.msg_send(&message, socket, flags) >= 0)
        return 0;
    int error = tally_zmq.error();
    tally_zmq.msg_close(&message);
    errno = error;
    return -1;
}

int tally_control_send(void *socket, uint16_t type, uint32_t sequence, const void *payload,
                       size_t bytes, int flags)
{
    struct tally_control_header header = {
        .magic = TALLY_CONTROL_MAGIC,
        .version = TALLY_PROTOCOL_VERSION,
        .type = type,
        .sequence = sequence,
    };
    if (tally_zmq.send(socket, &header, sizeof header, flags | TALLY_ZMQ_SNDMORE) < 0)
        return -1;
    return tally_zmq.send(socket, payload, bytes, flags) < 0 ? -1 : 0;
}

/* Takes the rest of a multipart message off the socket; the parts of one message arrive together.
 */
static void drop_rest(void *socket, struct tally_zmq_message *message)
{
    while (tally_zmq.msg_more(message))
        if (tally_zmq.msg_recv(message, socket, TALLY_ZMQ_DONTWAIT) < 0)
            return;
}

long tally_control_receive(void *socket, struct tally_control_header *header, void *payload,
                           size_t capacity)
{
    struct tally_zmq_message message;
    tally_zmq.msg_init(&message);
    if (tally_zmq.msg_recv(&message, socket, 0) < 0) {
        int error = tally_zmq.error();
        tally_zmq.msg_close(&message);
        errno = error;
        return -1;
    }
    long size = -1;
    bool headed = tally_zmq.msg_size(&message) == sizeof *header && tally_zmq.msg_more(&message);
    if (headed) {
        memcpy(header, tally_zmq.msg_data(&message), sizeof *header);
        if (header->magic == TALLY_CONTROL_MAGIC &&
            tally_zmq.msg_recv(&message, socket, TALLY_ZMQ_DONTWAIT) >= 0 &&
            !tally_zmq.msg_more(&message) && tally_zmq.msg_size(&message) <= capacity) {
            size = (long)tally_zmq.msg_size(&message);
            memcpy(payload, tally_zmq.msg_data(&message), (size_t)size);
        }
    }
    drop_rest(socket, &message);
    tally_zmq.msg_close(&message);
    if (size < 0)
        errno = EPROTO;
    return size;
}
