#include "memory.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "context.h"
#include "generated/custom.h"
#include "tell.h"

#define HOST_ALLOC_FLAGS                                                                           \
    (CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED)
#define HOST_REGISTER_FLAGS                                                                        \
    (CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP | CU_MEMHOSTREGISTER_IOMEMORY |    \
     CU_MEMHOSTREGISTER_READ_ONLY)
#define ASIDE_MAX 32u
#define PITCH_ALIGNMENT 512u /* what current GPUs give */

bool shim_memory_holds(const struct shim_channel *channel, uint64_t address, uint64_t bytes)
{
    struct shim_range range;
    return shim_range_find(address, &range) && range.channel == channel &&
           bytes <= range.bytes - (address - range.base);
}

bool shim_memory_waits(uint64_t address)
{
    struct shim_range range;
    return shim_range_find(address, &range) &&
           (range.kind == SHIM_RANGE_PINNED || range.sync_memops);
}

/* ---- device memory -------------------------------------------------------------------------- */

static CUresult send_free(struct shim_channel *channel, uint16_t code, uint64_t address)
{
    struct tally_op_mem_free op = {.op.code = code, .address = address};
    return shim_send(channel, &op, sizeof op, NULL, 0);
}

/* One allocation that the table of ranges knows, or CUDA_ERROR_ALREADY_MAPPED with its address in
 * *address. */
static CUresult allocate_once(struct shim_context *context, struct shim_channel *channel,
                              size_t bytes, uint64_t *address)
{
    struct tally_op_mem_alloc op = {.op.code = TALLY_OP_MEM_ALLOC, .bytes = bytes};
    struct tally_reply_mem_alloc reply;
    CUresult result = shim_call(channel, &op, sizeof op, NULL, 0, &reply, sizeof reply);
    if (result)
        return result;
    *address = reply.address;
    result = shim_range_add((struct shim_range){
        .base = reply.address,
        .bytes = bytes,
        .kind = SHIM_RANGE_DEVICE,
        .channel = channel,
        .context = context,
    });
    if (result && result != CUDA_ERROR_ALREADY_MAPPED)
        send_free(channel, TALLY_OP_MEM_FREE, reply.address);
    return result;
}

/* An address must mean one device, but the drivers of two executors do not know each other's
 * addresses. An allocation at an address of another device is kept aside until the executor has
 * given one elsewhere. */
static CUresult allocate(struct shim_context *context, struct shim_channel *channel, size_t bytes,
                         CUdeviceptr *dptr)
{
    uint64_t aside[ASIDE_MAX], address;
    uint32_t count = 0;
    CUresult result = allocate_once(context, channel, bytes, &address);
    while (result == CUDA_ERROR_ALREADY_MAPPED && count < ASIDE_MAX) {
        aside[count++] = address;
        if (count < ASIDE_MAX)
            result = allocate_once(context, channel, bytes, &address);
    }
    for (uint32_t i = 0; i < count; i++)
        send_free(channel, TALLY_OP_MEM_FREE, aside[i]);
    if (result == CUDA_SUCCESS)
        *dptr = address;
    if (result == CUDA_ERROR_ALREADY_MAPPED || (result == CUDA_ERROR_OUT_OF_MEMORY && count)) {
        static uint64_t calls;
        shim_unsupported("cuMemAlloc(at addresses of another device)", &calls);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return result;
}

CUresult shim_cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize)
{
    struct shim_context *context;
    struct shim_channel *channel;
    CUresult result = shim_current(&context, &channel);
    if (result)
        return result;
    if (!dptr || !bytesize)
        return CUDA_ERROR_INVALID_VALUE;
    return allocate(context, channel, bytesize, dptr);
}

CUresult shim_cuMemAllocPitch_v2(CUdeviceptr *dptr, size_t *pPitch, size_t WidthInBytes,
                                 size_t Height, unsigned int ElementSizeBytes)
{
    CUresult result = shim_current(NULL, NULL);
    if (result)
        return result;
    bool element = ElementSizeBytes == 4 || ElementSizeBytes == 8 || ElementSizeBytes == 16;
    size_t pitch = (WidthInBytes + PITCH_ALIGNMENT - 1) / PITCH_ALIGNMENT * PITCH_ALIGNMENT;
    size_t bytes;
    if (!dptr || !pPitch || !element || !WidthInBytes || pitch < WidthInBytes)
        return CUDA_ERROR_INVALID_VALUE;
    if (__builtin_mul_overflow(pitch, Height, &bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = shim_cuMemAlloc_v2(dptr, bytes);
    if (!result)
        *pPitch = pitch;
    return result;
}

CUresult shim_cuMemFree_v2(CUdeviceptr dptr)
{
    CUresult result = shim_ready();
    if (result || !dptr)
        return result;
    struct shim_range range;
    if (!shim_range_remove(dptr, SHIM_RANGE_DEVICE, &range)) {
        struct shim_channel
            *channel; /* of a session that is lost: that error, however often it is freed */
        result = shim_current(NULL, &channel);
        return result ? result : CUDA_ERROR_INVALID_VALUE;
    }
    return send_free(range.channel, TALLY_OP_MEM_FREE, dptr);
}

CUresult shim_cuMemGetInfo_v2(size_t *free, size_t *total)
{
    struct shim_channel *channel;
    CUresult result = shim_current(NULL, &channel);
    if (result)
        return result;
    struct tally_op op = {.code = TALLY_OP_MEM_INFO};
    struct tally_reply_mem_info reply;
    result = shim_call(channel, &op, sizeof op, NULL, 0, &reply, sizeof reply);
    if (!result && free)
        *free = reply.free_bytes;
    if (!result && total)
        *total = reply.total_bytes;
    return result;
}

/* ---- pinned host memory --------------------------------------------------------------------- */

/* Maps the executor's file at the address that it chose. The memory lives as long as somebody maps
 * it. A forked child does not inherit it, as with CUDA. */
static bool map_pinned(struct shim_channel *channel, const struct tally_reply_host_alloc *reply)
{
    int fd = shim_channel_memory(channel, reply->number, reply->bytes);
    if (fd < 0)
        return false;
    void *want = (void *)(uintptr_t)reply->address;
    void *got =
        mmap(want, reply->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
    close(fd);
    if (got == MAP_FAILED)
        return false;
    if (got != want) { /* a kernel before 4.17 takes the flag for a hint */
        munmap(got, reply->bytes);
        return false;
    }
    madvise(got, reply->bytes, MADV_DONTFORK);
    return true;
}

CUresult shim_cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags)
{
    struct shim_context *context;
    struct shim_channel *channel;
    CUresult result = shim_current(&context, &channel);
    if (result)
        return result;
    if (!pp || Flags & ~HOST_ALLOC_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    if (!bytesize) { /* no memory, and no error: what comes back may be freed */
        *pp = NULL;
        return CUDA_SUCCESS;
    }
    struct tally_op_host_alloc op = {
        .op.code = TALLY_OP_HOST_ALLOC, .bytes = bytesize, .flags = Flags};
    struct tally_reply_host_alloc reply;
    result = shim_call(channel, &op, sizeof op, NULL, 0, &reply, sizeof reply);
    if (result)
        return result;
    if (reply.bytes < bytesize || !map_pinned(channel, &reply)) {
        send_free(channel, TALLY_OP_HOST_FREE, reply.address);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    result = shim_range_add((struct shim_range){
        .base = reply.address,
        .bytes = reply.bytes,
        .kind = SHIM_RANGE_PINNED,
        .flags = Flags,
        .channel = channel,
        .context = context,
    });
    if (result) {
        munmap((void *)(uintptr_t)reply.address, reply.bytes);
        send_free(channel, TALLY_OP_HOST_FREE, reply.address);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *pp = (void *)(uintptr_t)reply.address;
    return CUDA_SUCCESS;
}

CUresult shim_cuMemAllocHost_v2(void **pp, size_t bytesize)
{
    return shim_cuMemHostAlloc(pp, bytesize, CU_MEMHOSTALLOC_DEVICEMAP);
}

static CUresult free_pinned(const struct shim_range *range)
{
    munmap((void *)(uintptr_t)range->base, range->bytes);
    return send_free(range->channel, TALLY_OP_HOST_FREE, range->base);
}

CUresult shim_cuMemFreeHost(void *p)
{
    CUresult result = shim_ready();
    if (result || !p)
        return result;
    struct shim_range range;
    if (!shim_range_remove((uintptr_t)p, SHIM_RANGE_PINNED, &range))
        return CUDA_ERROR_INVALID_VALUE;
    return free_pinned(&range);
}

/* Pages that a program made cannot be shared after the fact, and with unified addressing a kernel
 * may use what is registered, whatever the flags. So it is refused, as
 * CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED says beforehand: the kernel would fault, or see
 * something else. Copies work without. */
CUresult shim_cuMemHostRegister_v2(void *p, size_t bytesize, unsigned int Flags)
{
    static uint64_t calls;
    CUresult result = shim_current(NULL, NULL);
    if (result)
        return result;
    if (!p || !bytesize || Flags & ~HOST_REGISTER_FLAGS)
        return CUDA_ERROR_INVALID_VALUE;
    shim_tell("kernels cannot be shown memory that the program made: cuMemHostRegister "
              "(cudaHostRegister) is not "
              "supported; copies work without it, and memory of cuMemHostAlloc (cudaHostAlloc) is "
              "pinned");
    return shim_unsupported("cuMemHostRegister", &calls);
}

CUresult shim_cuMemHostUnregister(void *p)
{
    (void)p;
    CUresult result = shim_ready();
    return result ? result : CUDA_ERROR_INVALID_VALUE; /* nothing is registered */
}

/* ---- the end of a context ------------------------------------------------------------------- */

static void close_context(struct shim_context *context)
{
    struct shim_range range;
    while (shim_range_remove_any(context, &range)) {
        if (range.kind == SHIM_RANGE_DEVICE)
            send_free(range.channel, TALLY_OP_MEM_FREE, range.base);
        else if (range.kind == SHIM_RANGE_PINNED)
            free_pinned(&range);
    }
}

__attribute__((constructor)) static void register_hook(void)
{
    shim_context_on_close(close_context);
}
