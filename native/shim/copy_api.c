/* The API's many forms of copying, brought to one: shim_copy. */
#include "copy.h"
#include "generated/custom.h"

static CUresult linear(bool per_thread, CUstream stream, uint64_t dst,
                       enum shim_side_claim dst_claim, uint64_t src, enum shim_side_claim src_claim,
                       size_t bytes, bool sync)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, stream, &ref);
    return result ? result : shim_copy_linear(&ref, dst, dst_claim, src, src_claim, bytes, sync);
}

CUresult shim_cuMemcpy(bool per_thread, CUdeviceptr dst, CUdeviceptr src, size_t ByteCount)
{
    return linear(per_thread, NULL, dst, SHIM_SIDE_ANY, src, SHIM_SIDE_ANY, ByteCount, true);
}

CUresult shim_cuMemcpyAsync(bool per_thread, CUdeviceptr dst, CUdeviceptr src, size_t ByteCount,
                            CUstream hStream)
{
    return linear(per_thread, hStream, dst, SHIM_SIDE_ANY, src, SHIM_SIDE_ANY, ByteCount, false);
}

CUresult shim_cuMemcpyHtoD_v2(bool per_thread, CUdeviceptr dstDevice, const void *srcHost,
                              size_t ByteCount)
{
    return linear(per_thread, NULL, dstDevice, SHIM_SIDE_DEVICE, (uintptr_t)srcHost, SHIM_SIDE_HOST,
                  ByteCount, true);
}

CUresult shim_cuMemcpyHtoDAsync_v2(bool per_thread, CUdeviceptr dstDevice, const void *srcHost,
                                   size_t ByteCount, CUstream hStream)
{
    return linear(per_thread, hStream, dstDevice, SHIM_SIDE_DEVICE, (uintptr_t)srcHost,
                  SHIM_SIDE_HOST, ByteCount, false);
}

CUresult shim_cuMemcpyDtoH_v2(bool per_thread, void *dstHost, CUdeviceptr srcDevice,
                              size_t ByteCount)
{
    return linear(per_thread, NULL, (uintptr_t)dstHost, SHIM_SIDE_HOST, srcDevice, SHIM_SIDE_DEVICE,
                  ByteCount, true);
}

CUresult shim_cuMemcpyDtoHAsync_v2(bool per_thread, void *dstHost, CUdeviceptr srcDevice,
                                   size_t ByteCount, CUstream hStream)
{
    return linear(per_thread, hStream, (uintptr_t)dstHost, SHIM_SIDE_HOST, srcDevice,
                  SHIM_SIDE_DEVICE, ByteCount, false);
}

CUresult shim_cuMemcpyDtoD_v2(bool per_thread, CUdeviceptr dstDevice, CUdeviceptr srcDevice,
                              size_t ByteCount)
{
    return linear(per_thread, NULL, dstDevice, SHIM_SIDE_DEVICE, srcDevice, SHIM_SIDE_DEVICE,
                  ByteCount, true);
}

CUresult shim_cuMemcpyDtoDAsync_v2(bool per_thread, CUdeviceptr dstDevice, CUdeviceptr srcDevice,
                                   size_t ByteCount, CUstream hStream)
{
    return linear(per_thread, hStream, dstDevice, SHIM_SIDE_DEVICE, srcDevice, SHIM_SIDE_DEVICE,
                  ByteCount, false);
}

/* ---- between contexts ----------------------------------------------------------------------- */

/* Addresses tell the device; the contexts only have to be some. */
static CUresult check_peers(CUcontext dst, CUcontext src)
{
    struct shim_context *context;
    CUresult result = shim_context_of(dst, &context);
    return result ? result : shim_context_of(src, &context);
}

CUresult shim_cuMemcpyPeer(bool per_thread, CUdeviceptr dstDevice, CUcontext dstContext,
                           CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount)
{
    CUresult result = check_peers(dstContext, srcContext);
    return result ? result : shim_cuMemcpyDtoD_v2(per_thread, dstDevice, srcDevice, ByteCount);
}

CUresult shim_cuMemcpyPeerAsync(bool per_thread, CUdeviceptr dstDevice, CUcontext dstContext,
                                CUdeviceptr srcDevice, CUcontext srcContext, size_t ByteCount,
                                CUstream hStream)
{
    CUresult result = check_peers(dstContext, srcContext);
    return result ? result
                  : shim_cuMemcpyDtoDAsync_v2(per_thread, dstDevice, srcDevice, ByteCount, hStream);
}

/* ---- two and three dimensions --------------------------------------------------------------- */

static CUresult arrays_unsupported(void)
{
    static uint64_t calls;
    return shim_unsupported("cuMemcpy2D/3D(CU_MEMORYTYPE_ARRAY)", &calls);
}

/* One side as the API's structs give it: where it starts, how rows and slices follow. */
struct placed {
    CUmemorytype type;
    const void *host;
    CUdeviceptr device;
    size_t x, y, z, pitch, rows; /* rows: of the whole slice */
};

static CUresult side_of(const struct placed *in, const struct shim_box *box, struct shim_side *out)
{
    if (in->type == CU_MEMORYTYPE_HOST)
        *out = (struct shim_side){.address = (uintptr_t)in->host, .claim = SHIM_SIDE_HOST};
    else if (in->type == CU_MEMORYTYPE_DEVICE)
        *out = (struct shim_side){.address = in->device, .claim = SHIM_SIDE_DEVICE};
    else if (in->type == CU_MEMORYTYPE_UNIFIED)
        *out = (struct shim_side){.address = in->device, .claim = SHIM_SIDE_ANY};
    else
        return in->type == CU_MEMORYTYPE_ARRAY ? arrays_unsupported() : CUDA_ERROR_INVALID_VALUE;
    size_t row_end, offset, rows, slices;
    if (__builtin_add_overflow(in->x, box->width, &row_end))
        return CUDA_ERROR_INVALID_VALUE;
    bool one_row = box->height <= 1 && box->depth <= 1 && !in->y && !in->z;
    size_t pitch = in->pitch || !one_row ? in->pitch : row_end;
    if (pitch < row_end || __builtin_mul_overflow(pitch, in->rows, &out->slice) ||
        __builtin_mul_overflow(pitch, in->y, &rows) ||
        __builtin_mul_overflow(out->slice, in->z, &slices) ||
        __builtin_add_overflow(rows, slices, &offset) ||
        __builtin_add_overflow(offset, in->x, &offset) ||
        __builtin_add_overflow(out->address, offset, &out->address))
        return CUDA_ERROR_INVALID_VALUE;
    out->pitch = pitch;
    return CUDA_SUCCESS;
}

static CUresult copy_box(bool per_thread, CUstream stream, const struct placed *dst,
                         const struct placed *src, struct shim_box box, bool sync)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, stream, &ref);
    struct shim_side dst_side, src_side;
    if (!result)
        result = side_of(dst, &box, &dst_side);
    if (!result)
        result = side_of(src, &box, &src_side);
    return result ? result : shim_copy(&ref, dst_side, src_side, box, sync);
}

static CUresult copy_2d(bool per_thread, const CUDA_MEMCPY2D *copy, CUstream stream, bool sync)
{
    if (!copy)
        return CUDA_ERROR_INVALID_VALUE;
    struct placed dst = {
        .type = copy->dstMemoryType,
        .host = copy->dstHost,
        .device = copy->dstDevice,
        .x = copy->dstXInBytes,
        .y = copy->dstY,
        .pitch = copy->dstPitch,
    };
    struct placed src = {
        .type = copy->srcMemoryType,
        .host = copy->srcHost,
        .device = copy->srcDevice,
        .x = copy->srcXInBytes,
        .y = copy->srcY,
        .pitch = copy->srcPitch,
    };
    return copy_box(per_thread, stream, &dst, &src,
                    (struct shim_box){copy->WidthInBytes, copy->Height, 1}, sync);
}

CUresult shim_cuMemcpy2D_v2(bool per_thread, const CUDA_MEMCPY2D *pCopy)
{
    return copy_2d(per_thread, pCopy, NULL, true);
}

CUresult shim_cuMemcpy2DUnaligned_v2(bool per_thread, const CUDA_MEMCPY2D *pCopy)
{
    return copy_2d(per_thread, pCopy, NULL, true);
}

CUresult shim_cuMemcpy2DAsync_v2(bool per_thread, const CUDA_MEMCPY2D *pCopy, CUstream hStream)
{
    return copy_2d(per_thread, pCopy, hStream, false);
}

static CUresult copy_3d(bool per_thread, const CUDA_MEMCPY3D *copy, CUstream stream, bool sync)
{
    if (!copy || copy->srcLOD || copy->dstLOD)
        return CUDA_ERROR_INVALID_VALUE;
    if (copy->Depth > 1 && (copy->srcHeight < copy->Height || copy->dstHeight < copy->Height))
        return CUDA_ERROR_INVALID_VALUE;
    struct placed dst = {
        .type = copy->dstMemoryType,
        .host = copy->dstHost,
        .device = copy->dstDevice,
        .x = copy->dstXInBytes,
        .y = copy->dstY,
        .z = copy->dstZ,
        .pitch = copy->dstPitch,
        .rows = copy->dstHeight,
    };
    struct placed src = {
        .type = copy->srcMemoryType,
        .host = copy->srcHost,
        .device = copy->srcDevice,
        .x = copy->srcXInBytes,
        .y = copy->srcY,
        .z = copy->srcZ,
        .pitch = copy->srcPitch,
        .rows = copy->srcHeight,
    };
    struct shim_box box = {copy->WidthInBytes, copy->Height, copy->Depth};
    return copy_box(per_thread, stream, &dst, &src, box, sync);
}

CUresult shim_cuMemcpy3D_v2(bool per_thread, const CUDA_MEMCPY3D *pCopy)
{
    return copy_3d(per_thread, pCopy, NULL, true);
}

CUresult shim_cuMemcpy3DAsync_v2(bool per_thread, const CUDA_MEMCPY3D *pCopy, CUstream hStream)
{
    return copy_3d(per_thread, pCopy, hStream, false);
}

/* ---- batches -------------------------------------------------------------------------------- */

CUresult shim_cuMemcpyBatchAsync(bool per_thread, CUdeviceptr *dsts, CUdeviceptr *srcs,
                                 size_t *sizes, size_t count, CUmemcpyAttributes *attrs,
                                 size_t *attrsIdxs, size_t numAttrs, size_t *failIdx,
                                 CUstream hStream)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, hStream, &ref);
    if (failIdx)
        *failIdx = SIZE_MAX; /* CUDA: no single copy is to blame */
    if (result)
        return result;
    if (!count || !dsts || !srcs || !sizes || !attrs || !attrsIdxs || !numAttrs || numAttrs > count)
        return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; i++) {
        result =
            shim_copy_linear(&ref, dsts[i], SHIM_SIDE_ANY, srcs[i], SHIM_SIDE_ANY, sizes[i], false);
        if (result) {
            if (failIdx)
                *failIdx = i;
            return result;
        }
    }
    return CUDA_SUCCESS;
}

CUresult shim_cuMemcpyBatchAsync_v2(bool per_thread, CUdeviceptr *dsts, CUdeviceptr *srcs,
                                    size_t *sizes, size_t count, CUmemcpyAttributes *attrs,
                                    size_t *attrsIdxs, size_t numAttrs, CUstream hStream)
{
    return shim_cuMemcpyBatchAsync(per_thread, dsts, srcs, sizes, count, attrs, attrsIdxs, numAttrs,
                                   NULL, hStream);
}
