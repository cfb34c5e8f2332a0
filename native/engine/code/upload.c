#include "engine/code/upload.h"

#include <stdlib.h>

#include "engine/memory/guard.h"
#include "engine/ops/message.h"
#include "engine/session/reply.h"
#include "engine/session/segment.h"
#include "engine/session/session.h"
#include "engine/session/slot_mark.h"
#include "wire/message.h"

static struct upload *upload_find(struct session *session, const struct tally_op_upload *op)
{
    struct upload *unused = NULL;
    uint64_t total = op->total; /* of all unfinished ones */
    uint64_t most = session->engine->config.module_bytes_max;
    for (uint32_t i = 0; i < UPLOADS_MAX; i++) {
        total += session->uploads[i].total;
        if (session->uploads[i].id == op->upload)
            return &session->uploads[i];
        if (!session->uploads[i].id)
            unused = &session->uploads[i];
    }
    if (!unused || op->offset != 0 || op->total > most || total > most)
        return NULL;
    unused->bytes = calloc(1, op->total + 1); /* a NUL behind it: PTX is text */
    if (!unused->bytes)
        return NULL;
    unused->id = op->upload;
    unused->total = op->total;
    return unused;
}

bool op_upload(struct session *session, const struct message *message)
{
    struct tally_op_upload op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL) || op.upload == 0 ||
        op.total == 0 || op.slot >= session->config.slot_count ||
        op.bytes > session->config.slot_bytes || op.offset > op.total ||
        op.bytes > op.total - op.offset)
        return false;
    struct upload *upload = upload_find(session, &op);
    if (upload && upload->total != op.total)
        return false;
    if (upload)
        shared_read(session, upload->bytes + op.offset, segment_slot(session, op.slot), op.bytes);
    slot_mark(session, NULL, op.slot, op.slot_sequence);
    session_finish(session, &op.op, upload ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
    return true;
}

uint8_t *upload_take(struct session *session, uint64_t id, uint64_t *total)
{
    uint8_t *bytes = NULL;
    for (uint32_t i = 0; i < UPLOADS_MAX && id; i++) {
        struct upload *upload = &session->uploads[i];
        if (upload->id != id)
            continue;
        bytes = upload->bytes;
        *total = upload->total;
        *upload = (struct upload){0};
    }
    return bytes;
}

void uploads_close(struct session *session)
{
    for (uint32_t i = 0; i < UPLOADS_MAX; i++) {
        free(session->uploads[i].bytes);
        session->uploads[i] = (struct upload){0};
    }
}
