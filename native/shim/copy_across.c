/* Copies that touch another device than the stream's. An executor sees only its own device's
 * memory, so the bytes pass through this process. They are copied in the stream's order, and are
 * there on return. */
#include <stdlib.h>

#include "copy.h"
#include "stream_work.h"

#define STAGE_BYTES (4ull << 20)

/* The stream's own device is used through that stream, another one through its legacy stream. */
static struct shim_stream_ref stream_on(const struct shim_stream_ref *ref,
                                        struct shim_channel *channel)
{
    return channel == ref->channel
               ? *ref
               : (struct shim_stream_ref){.channel = channel, .wire = TALLY_STREAM_LEGACY};
}

/* Some rows, or a part of one, from device to device. */
static CUresult copy_staged(const struct shim_stream_ref *dst_ref, struct shim_side dst,
                            const struct shim_stream_ref *src_ref, struct shim_side src,
                            void *stage, uint64_t width, uint64_t rows)
{
    struct shim_box box = {width, rows, 1};
    struct shim_side host = {.address = (uintptr_t)stage,
                             .pitch = width,
                             .slice = width * rows,
                             .claim = SHIM_SIDE_HOST};
    CUresult result = shim_copy(src_ref, host, src, box, true);
    return result ? result : shim_copy(dst_ref, dst, host, box, true);
}

static CUresult between_devices(const struct shim_stream_ref *dst_ref, struct shim_side dst,
                                const struct shim_stream_ref *src_ref, struct shim_side src,
                                struct shim_box box)
{
    uint64_t width_max = box.width < STAGE_BYTES ? box.width : STAGE_BYTES;
    uint64_t rows_max = width_max < box.width ? 1 : STAGE_BYTES / width_max;
    void *stage = malloc(width_max * (rows_max < box.height ? rows_max : box.height));
    if (!stage)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = CUDA_SUCCESS;
    for (uint64_t z = 0; z < box.depth && !result; z++)
        for (uint64_t y = 0, rows; y < box.height && !result; y += rows) {
            rows = box.height - y < rows_max ? box.height - y : rows_max;
            for (uint64_t x = 0, width; x < box.width && !result; x += width) {
                width = box.width - x < width_max ? box.width - x : width_max;
                struct shim_side to = dst, from = src;
                to.address += z * dst.slice + y * dst.pitch + x;
                from.address += z * src.slice + y * src.pitch + x;
                result = copy_staged(dst_ref, to, src_ref, from, stage, width, rows);
            }
        }
    free(stage);
    return result;
}

CUresult shim_copy_across(const struct shim_stream_ref *ref, struct shim_side dst,
                          struct shim_channel *dst_channel, struct shim_side src,
                          struct shim_channel *src_channel, struct shim_box box)
{
    CUresult result = shim_stream_wait(ref);
    if (result)
        return result;
    struct shim_stream_ref dst_ref = stream_on(ref, dst_channel ? dst_channel : src_channel);
    struct shim_stream_ref src_ref = stream_on(ref, src_channel ? src_channel : dst_channel);
    if (dst_ref.channel == src_ref.channel)
        result = shim_copy(&dst_ref, dst, src, box, true);
    else
        result = between_devices(&dst_ref, dst, &src_ref, src, box);
    return result ? result : shim_stream_wait(&dst_ref);
}
