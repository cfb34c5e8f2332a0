/* Copies and fills, in all of the driver API's shapes: each becomes a box or a fill and is
 * submitted. */
#include <stdlib.h>
#include <string.h>

#include "address_check.h"
#include "queue.h"

/* Asynchronous ops this small cost less on the calling thread. */
#define INLINE_BYTES_MAX (64u << 10)
/* Pageable sources this small are copied, and need no waiting. */
#define STAGE_BYTES_MAX (64u << 10)

/* Bytes from a side's first to its last; false: overflow. */
static bool extent(const struct soft_box *box, uint64_t pitch, uint64_t slice, uint64_t *bytes)
{
    uint64_t rows, slices;
    return !__builtin_mul_overflow(box->height - 1, pitch, &rows) &&
           !__builtin_mul_overflow(box->depth - 1, slice, &slices) &&
           !__builtin_add_overflow(rows, slices, bytes) &&
           !__builtin_add_overflow(*bytes, box->width, bytes);
}

/* Runs on the calling thread if it is short or waited for, and nothing is before it; else joins the
 * queue. */
static CUresult submit(struct soft_call *call, CUstream handle, struct soft_op *op, uint64_t bytes,
                       bool wait)
{
    struct soft_stream *stream;
    op->tag = soft_launch_tag();
    soft_lock();
    CUresult result = soft_stream_get(call, handle, &stream);
    if (result != CUDA_SUCCESS || op->total == 0) {
        soft_op_free(op);
        soft_unlock();
        return result;
    }
    if ((wait || bytes <= INLINE_BYTES_MAX) && soft_submit_inline(stream, op)) {
        soft_unlock();
        soft_run_inline(op);
        return (CUresult)atomic_load(&call->tenant->error);
    }
    result = soft_submit(stream, op);
    if (result == CUDA_SUCCESS && wait) {
        soft_stream_wait(stream, stream->submitted, soft_patient(call->context));
        result = (CUresult)atomic_load(&call->tenant->error);
    }
    soft_unlock();
    return result;
}

enum sides { HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE, UNIFIED };

static bool good(enum soft_place place, bool must_be_device)
{
    return place == SOFT_PLACE_KNOWN || place == SOFT_PLACE_PINNED ||
           (place == SOFT_PLACE_PAGEABLE && !must_be_device);
}

struct span {
    uint64_t dst, src, bytes;
};

static void run_stage(void *argument)
{
    const struct span *span = argument;
    memcpy((void *)(uintptr_t)span->dst, (const void *)(uintptr_t)span->src, span->bytes);
}

static bool stage_bytes(void *dst, uint64_t src, uint64_t bytes)
{
    return soft_guarded(run_stage, &(struct span){(uint64_t)(uintptr_t)dst, src, bytes});
}

/* Pageable memory is the program's word only: its ends are looked at before anything is queued. */
static bool there(enum soft_place place, uint64_t address, uint64_t bytes)
{
    uint8_t byte;
    return place != SOFT_PLACE_PAGEABLE ||
           (stage_bytes(&byte, address, 1) && stage_bytes(&byte, address + bytes - 1, 1));
}

static CUresult copy(CUstream stream, struct soft_box box, enum sides sides, bool wait)
{
    struct soft_call call;
    uint64_t dst_bytes, src_bytes;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!box.width || !box.height || !box.depth)
        return CUDA_SUCCESS;
    if (!extent(&box, box.dst_pitch, box.dst_slice, &dst_bytes) ||
        !extent(&box, box.src_pitch, box.src_slice, &src_bytes))
        return CUDA_ERROR_INVALID_VALUE;
    enum soft_place dst = soft_address_place(call.tenant, box.dst, dst_bytes);
    enum soft_place src = soft_address_place(call.tenant, box.src, src_bytes);
    if (!good(dst, sides == HOST_TO_DEVICE || sides == DEVICE_TO_DEVICE) ||
        !good(src, sides == DEVICE_TO_HOST || sides == DEVICE_TO_DEVICE) ||
        !there(dst, box.dst, dst_bytes) || !there(src, box.src, src_bytes))
        return CUDA_ERROR_INVALID_VALUE;
    /* Pageable memory: the caller may reuse a source, and may read a destination, once the call
     * returns. */
    uint64_t bytes = box.width * box.height * box.depth;
    bool stage = !wait && src == SOFT_PLACE_PAGEABLE && dst != SOFT_PLACE_PAGEABLE &&
                 box.height == 1 && box.depth == 1 && bytes <= STAGE_BYTES_MAX;
    wait = wait || dst == SOFT_PLACE_PAGEABLE || (src == SOFT_PLACE_PAGEABLE && !stage);
    struct soft_op *op = soft_op_new(SOFT_OP_COPY, stage ? bytes : 0);
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (stage) {
        if (!stage_bytes(op->tail_bytes, box.src, bytes)) {
            soft_op_free(op);
            return CUDA_ERROR_INVALID_VALUE;
        }
        box.src = (uint64_t)(uintptr_t)op->tail_bytes;
    }
    op->box = box;
    soft_box_plan(op);
    return submit(&call, stream, op, bytes, wait);
}

static CUresult copy_linear(CUstream stream, uint64_t dst, uint64_t src, size_t bytes,
                            enum sides sides, bool wait)
{
    struct soft_box box = {.dst = dst, .src = src, .width = bytes, .height = 1, .depth = 1};
    return copy(stream, box, sides, wait);
}

#define ADDRESS(pointer) ((uint64_t)(uintptr_t)(pointer))

SOFT_API CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
    return copy_linear(NULL, dst, src, bytes, UNIFIED, true);
}

SOFT_API CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    return copy_linear(stream, dst, src, bytes, UNIFIED, false);
}

SOFT_API CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t bytes)
{
    return copy_linear(NULL, dst, ADDRESS(src), bytes, HOST_TO_DEVICE, true);
}

SOFT_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes,
                                       CUstream stream)
{
    return copy_linear(stream, dst, ADDRESS(src), bytes, HOST_TO_DEVICE, false);
}

SOFT_API CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes)
{
    return copy_linear(NULL, ADDRESS(dst), src, bytes, DEVICE_TO_HOST, true);
}

SOFT_API CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream)
{
    return copy_linear(stream, ADDRESS(dst), src, bytes, DEVICE_TO_HOST, false);
}

SOFT_API CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes)
{
    return copy_linear(NULL, dst, src, bytes, DEVICE_TO_DEVICE, true);
}

SOFT_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes,
                                       CUstream stream)
{
    return copy_linear(stream, dst, src, bytes, DEVICE_TO_DEVICE, false);
}

SOFT_API CUresult cuMemcpyPeer(CUdeviceptr dst, CUcontext to, CUdeviceptr src, CUcontext from,
                               size_t bytes)
{
    return copy_linear(NULL, dst, src, bytes, DEVICE_TO_DEVICE, true);
}

SOFT_API CUresult cuMemcpyPeerAsync(CUdeviceptr dst, CUcontext to, CUdeviceptr src, CUcontext from,
                                    size_t bytes, CUstream stream)
{
    return copy_linear(stream, dst, src, bytes, DEVICE_TO_DEVICE, false);
}

/* ---- boxes ---------------------------------------------------------------------------------- */

struct side {
    CUmemorytype type;
    const void *host;
    CUdeviceptr device;
    uint64_t x, y, z, pitch, rows;
};

/* First byte and strides of a side; its memory type says which of its addresses counts. */
static CUresult resolve(const struct side *side, const struct soft_box *box, uint64_t *address,
                        uint64_t *pitch, uint64_t *slice)
{
    uint64_t base, offset;
    switch (side->type) {
    case CU_MEMORYTYPE_HOST:
        base = ADDRESS(side->host);
        break;
    case CU_MEMORYTYPE_DEVICE:
    case CU_MEMORYTYPE_UNIFIED:
        base = side->device;
        break;
    case CU_MEMORYTYPE_ARRAY:
        return CUDA_ERROR_NOT_SUPPORTED;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    *pitch = side->pitch ? side->pitch : side->x + box->width;
    uint64_t rows = side->rows ? side->rows : side->y + box->height;
    if (__builtin_add_overflow(side->x, box->width, &offset) ||
        (box->height > 1 && offset > *pitch) || (box->depth > 1 && side->y + box->height > rows) ||
        __builtin_mul_overflow(*pitch, rows, slice) ||
        __builtin_mul_overflow(side->z, *slice, &offset) ||
        __builtin_add_overflow(base, offset, address) ||
        __builtin_mul_overflow(side->y, *pitch, &offset) ||
        __builtin_add_overflow(*address, offset, address) ||
        __builtin_add_overflow(*address, side->x, address))
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

static CUresult copy_box(CUstream stream, struct side dst, struct side src, uint64_t width,
                         uint64_t height, uint64_t depth, bool wait)
{
    struct soft_box box = {.width = width, .height = height, .depth = depth};
    if (!width || !height || !depth)
        return CUDA_SUCCESS;
    CUresult result = resolve(&dst, &box, &box.dst, &box.dst_pitch, &box.dst_slice);
    if (result == CUDA_SUCCESS)
        result = resolve(&src, &box, &box.src, &box.src_pitch, &box.src_slice);
    if (result != CUDA_SUCCESS)
        return result;
    enum sides sides = UNIFIED;
    if (src.type == CU_MEMORYTYPE_DEVICE)
        sides = dst.type == CU_MEMORYTYPE_DEVICE ? DEVICE_TO_DEVICE : DEVICE_TO_HOST;
    else if (dst.type == CU_MEMORYTYPE_DEVICE)
        sides = HOST_TO_DEVICE;
    return copy(stream, box, sides, wait);
}

static CUresult copy_2d(CUstream stream, const CUDA_MEMCPY2D *c, bool wait)
{
    if (!c)
        return CUDA_ERROR_INVALID_VALUE;
    struct side dst = {c->dstMemoryType, c->dstHost, c->dstDevice, c->dstXInBytes,
                       c->dstY,          0,          c->dstPitch,  0};
    struct side src = {c->srcMemoryType, c->srcHost, c->srcDevice, c->srcXInBytes,
                       c->srcY,          0,          c->srcPitch,  0};
    return copy_box(stream, dst, src, c->WidthInBytes, c->Height, 1, wait);
}

static CUresult copy_3d(CUstream stream, const CUDA_MEMCPY3D *c, bool wait)
{
    if (!c || c->srcLOD || c->dstLOD)
        return CUDA_ERROR_INVALID_VALUE;
    struct side dst = {c->dstMemoryType, c->dstHost, c->dstDevice, c->dstXInBytes,
                       c->dstY,          c->dstZ,    c->dstPitch,  c->dstHeight};
    struct side src = {c->srcMemoryType, c->srcHost, c->srcDevice, c->srcXInBytes,
                       c->srcY,          c->srcZ,    c->srcPitch,  c->srcHeight};
    return copy_box(stream, dst, src, c->WidthInBytes, c->Height, c->Depth, wait);
}

SOFT_API CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *c) { return copy_2d(NULL, c, true); }
SOFT_API CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *c) { return copy_2d(NULL, c, true); }
SOFT_API CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *c, CUstream stream)
{
    return copy_2d(stream, c, false);
}
SOFT_API CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D *c) { return copy_3d(NULL, c, true); }
SOFT_API CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D *c, CUstream stream)
{
    return copy_3d(stream, c, false);
}

/* ---- fills ---------------------------------------------------------------------------------- */

static CUresult fill(CUstream stream, uint64_t dst, uint64_t pitch, uint32_t value,
                     uint32_t element, uint64_t width, uint64_t height, bool wait)
{
    struct soft_call call;
    uint64_t bytes, row;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (dst % element || __builtin_mul_overflow(width, element, &row))
        return CUDA_ERROR_INVALID_VALUE;
    if (!width || !height)
        return CUDA_SUCCESS;
    if ((height > 1 && (pitch < row || pitch % element)) ||
        __builtin_mul_overflow(height - 1, pitch, &bytes) ||
        __builtin_add_overflow(bytes, row, &bytes) || !soft_address_known(call.tenant, dst, bytes))
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_op *op = soft_op_new(SOFT_OP_FILL, 0);
    if (!op)
        return CUDA_ERROR_OUT_OF_MEMORY;
    op->fill = (struct soft_fill){dst, pitch, row, height, value, element};
    soft_fill_plan(op);
    return submit(&call, stream, op, row * height, wait);
}

#define FILL_API(bits, type)                                                                       \
    SOFT_API CUresult cuMemsetD##bits##_v2(CUdeviceptr dst, type value, size_t count)              \
    {                                                                                              \
        return fill(NULL, dst, 0, value, bits / 8, count, 1, true);                                \
    }                                                                                              \
    SOFT_API CUresult cuMemsetD##bits##Async(CUdeviceptr dst, type value, size_t count,            \
                                             CUstream stream)                                      \
    {                                                                                              \
        return fill(stream, dst, 0, value, bits / 8, count, 1, false);                             \
    }                                                                                              \
    SOFT_API CUresult cuMemsetD2D##bits##_v2(CUdeviceptr dst, size_t pitch, type value,            \
                                             size_t width, size_t height)                          \
    {                                                                                              \
        return fill(NULL, dst, pitch, value, bits / 8, width, height, true);                       \
    }                                                                                              \
    SOFT_API CUresult cuMemsetD2D##bits##Async(CUdeviceptr dst, size_t pitch, type value,          \
                                               size_t width, size_t height, CUstream stream)       \
    {                                                                                              \
        return fill(stream, dst, pitch, value, bits / 8, width, height, false);                    \
    }

FILL_API(8, unsigned char)
FILL_API(16, unsigned short)
FILL_API(32, unsigned int)
