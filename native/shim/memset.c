#include "generated/custom.h"
#include "memory.h"
#include "stream_work.h"

/* Rows of `width` elements. One row: the pitch does not matter. `sync`: one of the forms without
 * Async. */
static CUresult set(bool per_thread, CUstream stream, CUdeviceptr dst, size_t pitch, uint32_t value,
                    uint32_t element_bytes, size_t width, size_t height, bool sync)
{
    struct shim_stream_ref ref;
    CUresult result = shim_stream_resolve(per_thread, stream, &ref);
    if (result)
        return result;
    if (!width || !height)
        return shim_channel_check(ref.channel);
    size_t row, extent;
    if (__builtin_mul_overflow(width, (size_t)element_bytes, &row))
        return CUDA_ERROR_INVALID_VALUE;
    if (height == 1)
        pitch = row;
    if (dst % element_bytes || pitch % element_bytes || pitch < row ||
        __builtin_mul_overflow(pitch, height - 1, &extent) ||
        __builtin_add_overflow(extent, row, &extent) ||
        !shim_memory_holds(ref.channel, dst, extent))
        return CUDA_ERROR_INVALID_VALUE;
    struct tally_op_memset op = {
        .op.code = TALLY_OP_MEMSET,
        .stream = ref.wire,
        .dst = dst,
        .pitch = pitch,
        .width = width,
        .height = height,
        .value = value,
        .element_bytes = element_bytes,
    };
    result = shim_stream_submit(&ref, &(struct shim_work){SHIM_WORK(op)});
    return !result && sync && shim_memory_waits(dst) ? shim_stream_wait(&ref) : result;
}

CUresult shim_cuMemsetD8_v2(bool per_thread, CUdeviceptr dstDevice, unsigned char uc, size_t N)
{
    return set(per_thread, NULL, dstDevice, 0, uc, 1, N, 1, true);
}

CUresult shim_cuMemsetD16_v2(bool per_thread, CUdeviceptr dstDevice, unsigned short us, size_t N)
{
    return set(per_thread, NULL, dstDevice, 0, us, 2, N, 1, true);
}

CUresult shim_cuMemsetD32_v2(bool per_thread, CUdeviceptr dstDevice, unsigned int ui, size_t N)
{
    return set(per_thread, NULL, dstDevice, 0, ui, 4, N, 1, true);
}

CUresult shim_cuMemsetD2D8_v2(bool per_thread, CUdeviceptr dstDevice, size_t dstPitch,
                              unsigned char uc, size_t Width, size_t Height)
{
    return set(per_thread, NULL, dstDevice, dstPitch, uc, 1, Width, Height, true);
}

CUresult shim_cuMemsetD2D16_v2(bool per_thread, CUdeviceptr dstDevice, size_t dstPitch,
                               unsigned short us, size_t Width, size_t Height)
{
    return set(per_thread, NULL, dstDevice, dstPitch, us, 2, Width, Height, true);
}

CUresult shim_cuMemsetD2D32_v2(bool per_thread, CUdeviceptr dstDevice, size_t dstPitch,
                               unsigned int ui, size_t Width, size_t Height)
{
    return set(per_thread, NULL, dstDevice, dstPitch, ui, 4, Width, Height, true);
}

CUresult shim_cuMemsetD8Async(bool per_thread, CUdeviceptr dstDevice, unsigned char uc, size_t N,
                              CUstream hStream)
{
    return set(per_thread, hStream, dstDevice, 0, uc, 1, N, 1, false);
}

CUresult shim_cuMemsetD16Async(bool per_thread, CUdeviceptr dstDevice, unsigned short us, size_t N,
                               CUstream hStream)
{
    return set(per_thread, hStream, dstDevice, 0, us, 2, N, 1, false);
}

CUresult shim_cuMemsetD32Async(bool per_thread, CUdeviceptr dstDevice, unsigned int ui, size_t N,
                               CUstream hStream)
{
    return set(per_thread, hStream, dstDevice, 0, ui, 4, N, 1, false);
}

CUresult shim_cuMemsetD2D8Async(bool per_thread, CUdeviceptr dstDevice, size_t dstPitch,
                                unsigned char uc, size_t Width, size_t Height, CUstream hStream)
{
    return set(per_thread, hStream, dstDevice, dstPitch, uc, 1, Width, Height, false);
}

CUresult shim_cuMemsetD2D16Async(bool per_thread, CUdeviceptr dstDevice, size_t dstPitch,
                                 unsigned short us, size_t Width, size_t Height, CUstream hStream)
{
    return set(per_thread, hStream, dstDevice, dstPitch, us, 2, Width, Height, false);
}

CUresult shim_cuMemsetD2D32Async(bool per_thread, CUdeviceptr dstDevice, size_t dstPitch,
                                 unsigned int ui, size_t Width, size_t Height, CUstream hStream)
{
    return set(per_thread, hStream, dstDevice, dstPitch, ui, 4, Width, Height, false);
}
