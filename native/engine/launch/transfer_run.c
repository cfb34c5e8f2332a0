#include "engine/launch/transfer_run.h"

#include "engine/launch/completion.h"
#include "engine/launch/start.h"
#include "engine/launch/timing.h"
#include "engine/launch/transfer.h"
#include "engine/session/session.h"
#include "tally/assert.h"

static CUresult copy_line(const struct tally_driver *cu, const struct transfer *transfer,
                          const struct transfer_piece *piece, CUstream stream)
{
    if (transfer->dst.host)
        return cu->cuMemcpyDtoHAsync_v2((void *)piece->dst, piece->src, piece->width, stream);
    if (transfer->src.host)
        return cu->cuMemcpyHtoDAsync_v2(piece->dst, (const void *)piece->src, piece->width, stream);
    return cu->cuMemcpyDtoDAsync_v2(piece->dst, piece->src, piece->width, stream);
}

/* CUDA wants the height of a slice in rows even where there is one slice, and pitches that hold a
 * row. */
static CUresult copy_box(const struct tally_driver *cu, const struct transfer *transfer,
                         const struct transfer_piece *piece, CUstream stream)
{
    const struct transfer_end *dst = &transfer->dst, *src = &transfer->src;
    bool pitched = piece->height > 1 || piece->depth > 1;
    uint64_t dst_pitch = pitched ? dst->pitch : piece->width;
    uint64_t src_pitch = pitched ? src->pitch : piece->width;
    CUDA_MEMCPY3D box = {
        .srcMemoryType = src->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE,
        .srcHost = src->host ? (const void *)piece->src : NULL,
        .srcDevice = src->host ? 0 : piece->src,
        .srcPitch = src_pitch,
        .srcHeight = piece->depth > 1 ? src->slice / src_pitch : piece->height,
        .dstMemoryType = dst->host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE,
        .dstHost = dst->host ? (void *)piece->dst : NULL,
        .dstDevice = dst->host ? 0 : piece->dst,
        .dstPitch = dst_pitch,
        .dstHeight = piece->depth > 1 ? dst->slice / dst_pitch : piece->height,
        .WidthInBytes = piece->width,
        .Height = piece->height,
        .Depth = piece->depth,
    };
    return cu->cuMemcpy3DAsync_v2(&box, stream);
}

static CUresult fill(const struct tally_driver *cu, const struct transfer *transfer,
                     const struct transfer_piece *piece, CUstream stream)
{
    CUdeviceptr dst = piece->dst;
    size_t pitch = transfer->dst.pitch, height = piece->height;
    size_t width = piece->width / transfer->element_bytes;
    uint32_t value = transfer->value;
    bool line = height == 1;
    TALLY_ASSERT(piece->depth == 1);
    switch (transfer->element_bytes) {
    case 1:
        return line ? cu->cuMemsetD8Async(dst, (uint8_t)value, width, stream)
                    : cu->cuMemsetD2D8Async(dst, pitch, (uint8_t)value, width, height, stream);
    case 2:
        return line ? cu->cuMemsetD16Async(dst, (uint16_t)value, width, stream)
                    : cu->cuMemsetD2D16Async(dst, pitch, (uint16_t)value, width, height, stream);
    default:
        return line ? cu->cuMemsetD32Async(dst, value, width, stream)
                    : cu->cuMemsetD2D32Async(dst, pitch, value, width, height, stream);
    }
}

static CUresult run_piece(const struct tally_driver *cu, const struct transfer *transfer,
                          const struct transfer_piece *piece, CUstream stream)
{
    if (transfer->kind == TALLY_TRANSFER_FILL)
        return fill(cu, transfer, piece, stream);
    bool line = piece->height == 1 && piece->depth == 1;
    if (line && !(transfer->dst.host && transfer->src.host))
        return copy_line(cu, transfer, piece, stream);
    return copy_box(cu, transfer, piece, stream);
}

CUresult transfer_run(struct session *session, struct stream *stream,
                      const struct transfer *transfer, uint32_t lo, uint32_t hi, uint64_t tag)
{
    uint32_t blocks = transfer_blocks(transfer);
    bool reported = timing_is_reported(session);
    CUresult result = CUDA_SUCCESS;
    TALLY_ASSERT(lo < hi && hi <= blocks);
    while (lo < hi && result == CUDA_SUCCESS) {
        bool all = lo == 0 && hi == blocks;
        struct transfer_piece piece =
            all ? transfer_whole(transfer, hi) : transfer_piece_at(transfer, lo, hi);
        if (reported)
            session->driver->ops->tag(session->driver, piece.end == hi ? tag : 0);
        result = run_piece(&session->driver->cu, transfer, &piece, stream->driver);
        lo = piece.end;
    }
    if (reported)
        session->driver->ops->tag(session->driver, 0);
    else if (tag && result == CUDA_SUCCESS)
        result = completion_add(session, stream, 0, LAUNCH_WHOLE, tag);
    return result;
}
