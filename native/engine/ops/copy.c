/* Copies, fills, and pieces of uploads. Every address is checked against the session's own
 * ranges. */

#include "engine/launch/launch.h"
#include "engine/launch/transfer.h"
#include "engine/memory/memory.h"
#include "engine/memory/ranges.h"
#include "engine/ops/message.h"
#include "engine/session/reply.h"
#include "engine/session/segment.h"
#include "engine/session/session.h"
#include "engine/session/slot_mark.h"
#include "engine/streams/later.h"
#include "engine/streams/stream.h"
#include "wire/message.h"

/* Bytes from the first to behind the last of a box; false: too large for any memory. */
static bool box_extent(const struct tally_op_copy *op, uint64_t pitch, uint64_t slice,
                       uint64_t *extent)
{
    uint64_t rows, slices;
    if (__builtin_mul_overflow(pitch, op->height - 1, &rows) ||
        __builtin_mul_overflow(slice, op->depth - 1, &slices))
        return false;
    return !__builtin_add_overflow(rows, slices, extent) &&
           !__builtin_add_overflow(*extent, op->width, extent);
}

/* Rows must not overlap, nor slices; the driver's boxes know slices as a number of rows. */
static bool box_is_sound(const struct tally_op_copy *op, uint64_t pitch, uint64_t slice)
{
    if (op->height > 1 && pitch < op->width)
        return false;
    return op->depth == 1 ||
           (pitch >= op->width && slice % pitch == 0 && slice / pitch >= op->height);
}

static CUresult find_end(struct session *session, const struct tally_op_copy *op, uint16_t place,
                         uint64_t where, uint64_t pitch, uint64_t slice,
                         const struct tally_reader *tail, struct transfer_end *end)
{
    uint64_t extent;
    if (!box_is_sound(op, pitch, slice) || !box_extent(op, pitch, slice, &extent))
        return CUDA_ERROR_INVALID_VALUE;
    *end = (struct transfer_end){.host = true, .address = where, .pitch = pitch, .slice = slice};
    if (place == TALLY_PLACE_INLINE) {
        end->address = (uint64_t)tail->at;
        return extent <= tail->left ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    if (place == TALLY_PLACE_SLOT) {
        uint64_t bytes = (uint64_t)session->config.slot_count * session->config.slot_bytes;
        end->address = (uint64_t)segment_slot(session, 0) + where;
        return where <= bytes && extent <= bytes - where ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    enum range_kind kind = memory_kind(session, where, extent);
    end->host = kind == RANGE_PINNED;
    return kind ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult launch_transfer(struct session *session, struct stream *stream,
                                const struct transfer *transfer, uint64_t arrived_ns)
{
    struct launch launch = {
        .session = session,
        .stream = stream,
        .transfer = transfer,
        .arrived_ns = arrived_ns,
    };
    return launch_submit(session, &launch);
}

static CUresult copy(struct session *session, struct stream *stream, const struct tally_op_copy *op,
                     const struct tally_reader *tail, uint64_t arrived_ns)
{
    struct transfer_end dst, src;
    uint64_t bytes;
    if (__builtin_mul_overflow(op->width, op->height, &bytes) ||
        __builtin_mul_overflow(bytes, op->depth, &bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes == 0)
        return CUDA_SUCCESS;
    CUresult result =
        find_end(session, op, op->dst_place, op->dst, op->dst_pitch, op->dst_slice, tail, &dst);
    if (result == CUDA_SUCCESS)
        result =
            find_end(session, op, op->src_place, op->src, op->src_pitch, op->src_slice, tail, &src);
    if (result == CUDA_SUCCESS)
        result = stream_enter(session, stream);
    if (result != CUDA_SUCCESS)
        return result;
    enum tally_transfer_kind kind = dst.host && !src.host   ? TALLY_TRANSFER_TO_HOST
                                    : src.host && !dst.host ? TALLY_TRANSFER_TO_DEVICE
                                                            : TALLY_TRANSFER_ON_DEVICE;
    enum tally_counter counter = dst.host   ? TALLY_COUNT_BYTES_TO_HOST
                                 : src.host ? TALLY_COUNT_BYTES_TO_DEVICE
                                            : TALLY_COUNT_BYTES_ON_DEVICE;
    tally_stats_add(&session->stats, counter, bytes);
    const struct transfer transfer = {
        .kind = kind,
        .dst = dst,
        .src = src,
        .width = op->width,
        .height = op->height,
        .depth = op->depth,
    };
    return launch_transfer(session, stream, &transfer, arrived_ns);
}

bool op_copy(struct session *session, const struct message *message)
{
    struct tally_op_copy op;
    struct tally_reader tail;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, &tail) ||
        op.dst_place > TALLY_PLACE_SLOT || op.src_place > TALLY_PLACE_INLINE ||
        (op.src_place != TALLY_PLACE_INLINE && tail.left > 0))
        return false;
    if (op.slot_sequence && op.slot >= session->config.slot_count)
        return false;
    struct stream *stream = stream_find(session, op.stream);
    CUresult result =
        stream ? copy(session, stream, &op, &tail, message->arrived_ns) : CUDA_ERROR_INVALID_HANDLE;
    /* The slot comes back even if nothing was copied, or the client would wait for it for ever. */
    if (op.slot_sequence)
        slot_mark(session, result == CUDA_SUCCESS ? stream : NULL, op.slot, op.slot_sequence);
    if (op.op.call_id && result == CUDA_SUCCESS)
        stream_answer_when_done(session, stream, message, result);
    else
        session_finish(session, &op.op, result);
    return true;
}

static CUresult fill(struct session *session, struct stream *stream,
                     const struct tally_op_memset *op, uint64_t arrived_ns)
{
    uint64_t row, extent;
    if (op->width == 0 || op->height == 0)
        return CUDA_SUCCESS;
    if (__builtin_mul_overflow(op->width, op->element_bytes, &row) ||
        __builtin_mul_overflow(op->pitch, op->height - 1, &extent) ||
        __builtin_add_overflow(extent, row, &extent) || (op->height > 1 && op->pitch < row) ||
        op->dst % op->element_bytes || op->pitch % op->element_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    bool known = memory_kind(session, op->dst, extent) != RANGE_NONE;
    CUresult result = known ? stream_enter(session, stream) : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    tally_stats_add(&session->stats, TALLY_COUNT_BYTES_SET, row * op->height);
    const struct transfer transfer = {
        .kind = TALLY_TRANSFER_FILL,
        .dst = {.address = op->dst, .pitch = op->pitch},
        .width = row,
        .height = op->height,
        .depth = 1,
        .value = op->value,
        .element_bytes = op->element_bytes,
    };
    return launch_transfer(session, stream, &transfer, arrived_ns);
}

bool op_memset(struct session *session, const struct message *message)
{
    struct tally_op_memset op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL) ||
        (op.element_bytes != 1 && op.element_bytes != 2 && op.element_bytes != 4))
        return false;
    struct stream *stream = stream_find(session, op.stream);
    session_finish(session, &op.op,
                   stream ? fill(session, stream, &op, message->arrived_ns)
                          : CUDA_ERROR_INVALID_HANDLE);
    return true;
}
