/* Copies, fills, and pieces of uploads. Every address is checked against the session's own ranges. */
#include <stdlib.h>
#include <string.h>

#include "engine/guard.h"
#include "engine/session.h"

/* One end of a copy: where it is for the driver, and how its box lies there. */
struct end {
    bool host; /* the executor's address, in slots or a message or pinned memory; else a device address */
    uint64_t address;
    uint64_t pitch, slice;
};

/* Bytes from the first to behind the last of a box; false: too large for any memory. */
static bool box_extent(const struct tally_op_copy *op, uint64_t pitch, uint64_t slice, uint64_t *extent)
{
    uint64_t rows, slices;
    if (__builtin_mul_overflow(pitch, op->height - 1, &rows) || __builtin_mul_overflow(slice, op->depth - 1, &slices))
        return false;
    return !__builtin_add_overflow(rows, slices, extent) && !__builtin_add_overflow(*extent, op->width, extent);
}

/* Rows must not overlap, nor slices; the driver's boxes know slices as a number of rows. */
static bool box_is_sound(const struct tally_op_copy *op, uint64_t pitch, uint64_t slice)
{
    if (op->height > 1 && pitch < op->width)
        return false;
    return op->depth == 1 || (pitch >= op->width && slice % pitch == 0 && slice / pitch >= op->height);
}

static CUresult find_end(struct session *session, const struct tally_op_copy *op, uint16_t place, uint64_t where,
                         uint64_t pitch, uint64_t slice, const struct tally_reader *tail, struct end *end)
{
    uint64_t extent;
    if (!box_is_sound(op, pitch, slice) || !box_extent(op, pitch, slice, &extent))
        return CUDA_ERROR_INVALID_VALUE;
    *end = (struct end){.host = true, .address = where, .pitch = pitch, .slice = slice};
    if (place == TALLY_PLACE_INLINE) {
        end->address = (uint64_t)tail->at;
        return extent <= tail->left ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    if (place == TALLY_PLACE_SLOT) {
        uint64_t bytes = (uint64_t)session->config.slot_count * session->config.slot_bytes;
        end->address = (uint64_t)session->segment.slots + where;
        return where <= bytes && extent <= bytes - where ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    }
    pthread_mutex_lock(&session->memory.lock);
    const struct range *range = ranges_find(&session->memory.ranges, where, extent);
    end->host = range && range->kind == RANGE_PINNED;
    pthread_mutex_unlock(&session->memory.lock);
    return range ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUresult copy_line(const struct tally_driver *cu, const struct end *dst, const struct end *src, uint64_t bytes,
                          CUstream stream)
{
    if (dst->host)
        return cu->cuMemcpyDtoHAsync_v2((void *)dst->address, src->address, bytes, stream);
    if (src->host)
        return cu->cuMemcpyHtoDAsync_v2(dst->address, (const void *)src->address, bytes, stream);
    return cu->cuMemcpyDtoDAsync_v2(dst->address, src->address, bytes, stream);
}

/* CUDA wants the height of a slice in rows even where there is one slice, and pitches that hold a row. */
static CUresult copy_box(const struct tally_driver *cu, const struct tally_op_copy *op, const struct end *dst,
                         const struct end *src, CUstream stream)
{
    uint64_t dst_pitch = op->height > 1 || op->depth > 1 ? dst->pitch : op->width;
    uint64_t src_pitch = op->height > 1 || op->depth > 1 ? src->pitch : op->width;
    CUDA_MEMCPY3D box = {
        .srcMemoryType = src->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE,
        .srcHost = src->host ? (const void *)src->address : NULL,
        .srcDevice = src->host ? 0 : src->address,
        .srcPitch = src_pitch,
        .srcHeight = op->depth > 1 ? src->slice / src_pitch : op->height,
        .dstMemoryType = dst->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE,
        .dstHost = dst->host ? (void *)dst->address : NULL,
        .dstDevice = dst->host ? 0 : dst->address,
        .dstPitch = dst_pitch,
        .dstHeight = op->depth > 1 ? dst->slice / dst_pitch : op->height,
        .WidthInBytes = op->width,
        .Height = op->height,
        .Depth = op->depth,
    };
    return cu->cuMemcpy3DAsync_v2(&box, stream);
}

static CUresult copy(struct session *session, struct stream *stream, const struct tally_op_copy *op,
                     const struct tally_reader *tail)
{
    struct end dst, src;
    uint64_t bytes;
    if (__builtin_mul_overflow(op->width, op->height, &bytes) || __builtin_mul_overflow(bytes, op->depth, &bytes))
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes == 0)
        return CUDA_SUCCESS;
    CUresult result = find_end(session, op, op->dst_place, op->dst, op->dst_pitch, op->dst_slice, tail, &dst);
    if (result == CUDA_SUCCESS)
        result = find_end(session, op, op->src_place, op->src, op->src_pitch, op->src_slice, tail, &src);
    if (result == CUDA_SUCCESS)
        result = stream_enter(session, stream);
    if (result != CUDA_SUCCESS)
        return result;
    enum tally_counter counter = dst.host   ? TALLY_COUNT_BYTES_TO_HOST
                                 : src.host ? TALLY_COUNT_BYTES_TO_DEVICE
                                            : TALLY_COUNT_BYTES_ON_DEVICE;
    tally_stats_add(&session->stats, counter, bytes);
    bool line = op->height == 1 && op->depth == 1 && !(dst.host && src.host);
    return line ? copy_line(&session->driver->cu, &dst, &src, bytes, stream->driver)
                : copy_box(&session->driver->cu, op, &dst, &src, stream->driver);
}

bool op_copy(struct session *session, const struct message *message)
{
    struct tally_op_copy op;
    struct tally_reader tail;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, &tail) || op.dst_place > TALLY_PLACE_SLOT ||
        op.src_place > TALLY_PLACE_INLINE || (op.src_place != TALLY_PLACE_INLINE && tail.left > 0))
        return false;
    if (op.slot_sequence && op.slot >= session->config.slot_count)
        return false;
    struct stream *stream = stream_find(session, op.stream);
    CUresult result = stream ? copy(session, stream, &op, &tail) : CUDA_ERROR_INVALID_HANDLE;
    /* The slot comes back even if nothing was copied, or the client would wait for it for ever. */
    if (op.slot_sequence)
        segment_mark(session, result == CUDA_SUCCESS ? stream : NULL, op.slot, op.slot_sequence);
    if (op.op.call_id && result == CUDA_SUCCESS)
        stream_answer_when_done(session, stream, message, result);
    else
        session_finish(session, &op.op, result);
    return true;
}

static CUresult fill(struct session *session, struct stream *stream, const struct tally_op_memset *op)
{
    const struct tally_driver *cu = &session->driver->cu;
    uint64_t row, extent;
    if (op->width == 0 || op->height == 0)
        return CUDA_SUCCESS;
    if (__builtin_mul_overflow(op->width, op->element_bytes, &row) ||
        __builtin_mul_overflow(op->pitch, op->height - 1, &extent) || __builtin_add_overflow(extent, row, &extent) ||
        (op->height > 1 && op->pitch < row) || op->dst % op->element_bytes || op->pitch % op->element_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&session->memory.lock);
    bool known = ranges_find(&session->memory.ranges, op->dst, extent);
    pthread_mutex_unlock(&session->memory.lock);
    CUresult result = known ? stream_enter(session, stream) : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    tally_stats_add(&session->stats, TALLY_COUNT_BYTES_SET, row * op->height);
    bool line = op->height == 1;
    switch (op->element_bytes) {
    case 1:
        return line ? cu->cuMemsetD8Async(op->dst, (uint8_t)op->value, op->width, stream->driver)
                    : cu->cuMemsetD2D8Async(op->dst, op->pitch, (uint8_t)op->value, op->width, op->height, stream->driver);
    case 2:
        return line ? cu->cuMemsetD16Async(op->dst, (uint16_t)op->value, op->width, stream->driver)
                    : cu->cuMemsetD2D16Async(op->dst, op->pitch, (uint16_t)op->value, op->width, op->height, stream->driver);
    default:
        return line ? cu->cuMemsetD32Async(op->dst, op->value, op->width, stream->driver)
                    : cu->cuMemsetD2D32Async(op->dst, op->pitch, op->value, op->width, op->height, stream->driver);
    }
}

bool op_memset(struct session *session, const struct message *message)
{
    struct tally_op_memset op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL) ||
        (op.element_bytes != 1 && op.element_bytes != 2 && op.element_bytes != 4))
        return false;
    struct stream *stream = stream_find(session, op.stream);
    session_finish(session, &op.op, stream ? fill(session, stream, &op) : CUDA_ERROR_INVALID_HANDLE);
    return true;
}

static struct upload *upload_find(struct session *session, const struct tally_op_upload *op)
{
    struct upload *unused = NULL;
    uint64_t total = op->total; /* of all unfinished ones */
    for (uint32_t i = 0; i < UPLOADS_MAX; i++) {
        total += session->uploads[i].total;
        if (session->uploads[i].id == op->upload)
            return &session->uploads[i];
        if (!session->uploads[i].id)
            unused = &session->uploads[i];
    }
    if (!unused || op->offset != 0 || total > IMAGE_BYTES_MAX)
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
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL) || op.upload == 0 || op.total == 0 ||
        op.slot >= session->config.slot_count || op.bytes > session->config.slot_bytes ||
        op.total > IMAGE_BYTES_MAX || op.offset > op.total || op.bytes > op.total - op.offset)
        return false;
    struct upload *upload = upload_find(session, &op);
    if (upload && upload->total != op.total)
        return false;
    const uint8_t *slot = session->segment.slots + (uint64_t)op.slot * session->config.slot_bytes;
    if (upload)
        shared_read(session, upload->bytes + op.offset, slot, op.bytes);
    segment_mark(session, NULL, op.slot, op.slot_sequence);
    session_finish(session, &op.op, upload ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
    return true;
}
