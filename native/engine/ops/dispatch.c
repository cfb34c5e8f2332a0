#include "engine/ops/dispatch.h"

#include <string.h>

#include "engine/code/function.h"
#include "engine/launch/turns.h"
#include "engine/ops/generated/dispatch_gen.h"
#include "engine/ops/generated/ops_gen.h"
#include "engine/ops/message.h"
#include "engine/ops/op_launch.h"
#include "engine/ops/violation.h"
#include "engine/parts.h"
#include "engine/session/ending.h"
#include "engine/session/fault.h"
#include "engine/session/reply.h"
#include "engine/session/request.h"
#include "engine/session/session.h"
#include "engine/session/slot_mark.h"
#include "wire/message.h"

enum { CALL = 1, WORK = 2 }; /* must be answered; gives the device something to do */

struct entry {
    op_handler *handle;
    uint32_t flags;
};

bool op_bye(struct session *session, const struct message *message)
{
    session->bye = true;
    session_end(session, "the client is done");
    return message->size == sizeof(struct tally_op);
}

#define ENTRY(name, handler, flags) [TALLY_OP_##name] = {handler, flags},
static const struct entry entries[] = {ENGINE_OPS(ENTRY)};

/* The rule for attributes where generated ops carry them; true if *result is the answer already. A
 * priority that a program sets is Tally's to give: it is taken and forgotten. */
static bool answer_attributes(const struct message *message, CUresult *result)
{
    struct tally_op_cuStreamSetAttribute set;
    struct tally_op_cuOccupancyMaxActiveClusters query;
    _Static_assert(sizeof query == sizeof(struct tally_op_cuOccupancyMaxPotentialClusterSize),
                   "same layout");
    *result = CUDA_SUCCESS;
    switch (message->op.code) {
    case TALLY_OP_cuStreamSetAttribute:
        if (!tally_op_split(message->bytes, message->size, &set, sizeof set, NULL))
            return false;
        *result = attribute_rule((CUlaunchAttributeID)set.attr) == ATTRIBUTE_REFUSE
                      ? CUDA_ERROR_INVALID_VALUE
                      : 0;
        return attribute_rule((CUlaunchAttributeID)set.attr) != ATTRIBUTE_PASS;
    case TALLY_OP_cuOccupancyMaxActiveClusters:
    case TALLY_OP_cuOccupancyMaxPotentialClusterSize:
        if (!tally_op_split(message->bytes, message->size, &query, sizeof query, NULL))
            return false;
        for (uint32_t i = 0; i < query.config.attribute_count && i < TALLY_QUERY_ATTRIBUTES_MAX;
             i++)
            if (attribute_rule(query.config.attributes[i].id) == ATTRIBUTE_REFUSE)
                *result = CUDA_ERROR_INVALID_VALUE;
        return *result != CUDA_SUCCESS;
    default:
        return false;
    }
}

static bool serve_generated(struct session *session, const struct message *message)
{
    _Alignas(16) uint8_t reply[ENGINE_GENERATED_REPLY_BYTES_MAX];
    size_t reply_bytes = 0;
    CUresult result = CUDA_SUCCESS;
    if (answer_attributes(message, &result)) {
        session_finish(session, &message->op, result);
        return true;
    }
    if (!engine_dispatch_generated(session, message->bytes, message->size, reply, &reply_bytes,
                                   &result))
        return false;
    if (result == CUDA_SUCCESS)
        function_follow(session, message);
    if (!message->op.call_id || reply_bytes == 0) {
        session_finish(session, &message->op, result);
        return true;
    }
    session_note(session, result);
    session_reply(session, &message->op, result, reply, reply_bytes, NULL, 0);
    return true;
}

/* After a sticky error nothing is done any more, but nobody may be left waiting either: calls are
 * answered, and slots whose bytes nobody will read come back. */
static bool refuse(struct session *session, const struct message *message)
{
    struct tally_op_copy copy;
    struct tally_op_upload upload;
    if (message->op.code == TALLY_OP_COPY && message->size >= sizeof copy) {
        memcpy(&copy, message->bytes, sizeof copy);
        if (copy.slot_sequence && copy.slot < session->config.slot_count)
            slot_mark(session, NULL, copy.slot, copy.slot_sequence);
    } else if (message->op.code == TALLY_OP_UPLOAD && message->size == sizeof upload) {
        memcpy(&upload, message->bytes, sizeof upload);
        if (upload.slot < session->config.slot_count)
            slot_mark(session, NULL, upload.slot, upload.slot_sequence);
    }
    if (message->op.call_id)
        session_finish(session, &message->op, (CUresult)atomic_load(&session->sticky));
    return true;
}

void session_dispatch(struct session *session, const void *bytes, size_t size)
{
    struct message message = {.bytes = bytes, .size = size, .arrived_ns = engine_now_ns()};
    if (!tally_op_read(bytes, size, &message.op)) {
        session_violation(session, &message, "the header does not fit the message");
        return;
    }
    uint32_t code = message.op.code;
    const struct entry *entry = code < sizeof entries / sizeof *entries ? &entries[code] : NULL;
    if (!(entry && entry->handle) && code < TALLY_OP_GENERATED) {
        session_violation(session, &message, "there is no such op");
        return;
    }
    if (entry && (entry->flags & CALL) && !message.op.call_id) {
        session_violation(session, &message, "a call without a number to answer to");
        return;
    }
    tally_stats_add(&session->stats, TALLY_COUNT_OPS, 1);
    if (entry && (entry->flags & WORK))
        request_work(session, message.arrived_ns);
    if (code != TALLY_OP_LAUNCH && code != TALLY_OP_BYE)
        schedule_settle(session);
    bool well;
    if (atomic_load(&session->sticky) && code != TALLY_OP_BYE)
        well = refuse(session, &message);
    else
        well = entry ? entry->handle(session, &message) : serve_generated(session, &message);
    if (!well)
        session_violation(session, &message, "sizes or handles do not fit");
}
