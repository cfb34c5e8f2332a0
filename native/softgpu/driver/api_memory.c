/* Memory: allocation, host memory, and what is known about an address. */
#include <string.h>

#include "address_check.h"
#include "queue.h"

#define PITCH_ALIGN 512u

static CUresult allocate(CUdeviceptr *out, uint64_t bytes)
{
    struct soft_call call;
    uint64_t address;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    result = soft_memory_alloc(call.tenant, call.device, bytes, SOFT_MEMORY_DEVICE, 0, &address);
    if (result == CUDA_SUCCESS)
        *out = address;
    return result;
}

SOFT_API CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes)
{
    return allocate(address, bytes);
}

SOFT_API CUresult cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width,
                                     size_t height, unsigned int element)
{
    if (!pitch || !width || !height || (element != 4 && element != 8 && element != 16))
        return CUDA_ERROR_INVALID_VALUE;
    if (width > TALLY_TENANT_BYTES || height > TALLY_TENANT_BYTES / width)
        return CUDA_ERROR_OUT_OF_MEMORY;
    size_t row = (width + PITCH_ALIGN - 1) & ~(size_t)(PITCH_ALIGN - 1);
    CUresult result = allocate(address, row * height);
    if (result == CUDA_SUCCESS)
        *pitch = row;
    return result;
}

/* Freeing waits for the work so far, as CUDA's does; except in tenants that were made, whose maker
 * defers frees by itself and must not be held up. Work that loses its memory fails, no more. A
 * tenant that has failed may still free, and gets the sticky error. */
static CUresult release(uint64_t address, enum soft_memory_kind kind)
{
    struct soft_call call;
    CUresult result = soft_enter(&call);
    if (result == CUDA_ERROR_NOT_INITIALIZED || !call.tenant)
        return result;
    if (call.tenant->id == 0)
        soft_tenant_wait(call.tenant, NULL);
    CUresult freed = soft_memory_free(call.tenant, address, kind);
    return result != CUDA_SUCCESS ? result : freed;
}

SOFT_API CUresult cuMemFree_v2(CUdeviceptr address)
{
    return address ? release(address, SOFT_MEMORY_DEVICE) : CUDA_SUCCESS;
}

SOFT_API CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes)
{
    struct soft_call call;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!free_bytes || !total_bytes)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&soft.account_lock);
    *free_bytes = soft.memory_bytes - call.device->memory_used;
    pthread_mutex_unlock(&soft.account_lock);
    *total_bytes = soft.memory_bytes;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address)
{
    struct soft_call call;
    struct soft_range range;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!soft_memory_find(call.tenant, address, &range))
        return CUDA_ERROR_NOT_FOUND;
    if (base)
        *base = range.base;
    if (bytes)
        *bytes = range.bytes;
    return CUDA_SUCCESS;
}

/* ---- host memory ---------------------------------------------------------------------------- */

SOFT_API CUresult cuMemHostAlloc(void **out, size_t bytes, unsigned int flags)
{
    struct soft_call call;
    uint64_t address;
    unsigned allowed =
        CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!out || (flags & ~allowed))
        return CUDA_ERROR_INVALID_VALUE;
    /* It lies in the tenant's region, so kernels may touch it, and does not count as device memory.
     */
    result = soft_memory_alloc(call.tenant, call.device, bytes, SOFT_MEMORY_HOST, flags, &address);
    if (result == CUDA_SUCCESS)
        *out = (void *)(uintptr_t)address;
    return result;
}

SOFT_API CUresult cuMemAllocHost_v2(void **out, size_t bytes)
{
    return cuMemHostAlloc(out, bytes, 0);
}

SOFT_API CUresult cuMemFreeHost(void *address)
{
    return address ? release((uint64_t)(uintptr_t)address, SOFT_MEMORY_HOST)
                   : CUDA_ERROR_INVALID_VALUE;
}

SOFT_API CUresult cuMemHostRegister_v2(void *address, size_t bytes, unsigned int flags)
{
    struct soft_call call;
    unsigned allowed = CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP |
                       CU_MEMHOSTREGISTER_IOMEMORY | CU_MEMHOSTREGISTER_READ_ONLY;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (flags & ~allowed)
        return CUDA_ERROR_INVALID_VALUE;
    return soft_memory_register(call.tenant, (uint64_t)(uintptr_t)address, bytes, flags);
}

SOFT_API CUresult cuMemHostUnregister(void *address)
{
    return release((uint64_t)(uintptr_t)address, SOFT_MEMORY_REGISTERED);
}

SOFT_API CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr *out, void *address, unsigned int flags)
{
    struct soft_call call;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!out || flags || !soft_address_known(call.tenant, (uint64_t)(uintptr_t)address, 1))
        return CUDA_ERROR_INVALID_VALUE;
    *out = (CUdeviceptr)(uintptr_t)address;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuMemHostGetFlags(unsigned int *flags, void *address)
{
    struct soft_call call;
    struct soft_range range;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!flags || !soft_memory_find(call.tenant, (uint64_t)(uintptr_t)address, &range) ||
        range.kind != SOFT_MEMORY_HOST)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = range.flags | CU_MEMHOSTALLOC_DEVICEMAP;
    return CUDA_SUCCESS;
}

/* ---- pointer attributes --------------------------------------------------------------------- */

static CUresult attribute_of(struct soft_call *call, const struct soft_range *range,
                             CUpointer_attribute attribute, uint64_t address, void *data)
{
    bool device = range->kind == SOFT_MEMORY_DEVICE;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *(CUcontext *)data = (CUcontext)soft.devices[range->device].primary.object.handle;
        if (!*(CUcontext *)data)
            *(CUcontext *)data = (CUcontext)call->context->object.handle;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *(unsigned int *)data = device ? CU_MEMORYTYPE_DEVICE : CU_MEMORYTYPE_HOST;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *(CUdeviceptr *)data = address;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        *(void **)data = device ? NULL : (void *)(uintptr_t)address;
        return device ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
        *(unsigned int *)data = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
        *(unsigned long long *)data = range->id;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
        *(unsigned int *)data = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)data = (int)range->device;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
        *(unsigned int *)data = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
        *(CUdeviceptr *)data = range->base;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
        *(size_t *)data = range->bytes;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MAPPED:
        *(unsigned int *)data = 1;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
        *(uint64_t *)data = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
        *(unsigned int *)data = 0;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        *(unsigned int *)data = CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE;
        return CUDA_SUCCESS;
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
        *(void **)data = NULL;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

SOFT_API CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute,
                                        CUdeviceptr address)
{
    struct soft_call call;
    struct soft_range range;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!data || !soft_memory_find(call.tenant, address, &range))
        return CUDA_ERROR_INVALID_VALUE;
    return attribute_of(&call, &range, attribute, address, data);
}

/* Zeroes for memory that is not CUDA's, as the driver gives; each value's width differs. */
static void attribute_none(CUpointer_attribute attribute, void *data)
{
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *(int *)data = -2;
        break; /* CU_DEVICE_INVALID */
    case CU_POINTER_ATTRIBUTE_CONTEXT:
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
        memset(data, 0, 8);
        break;
    default:
        memset(data, 0, 4);
    }
}

SOFT_API CUresult cuPointerGetAttributes(unsigned int count, CUpointer_attribute *attributes,
                                         void **data, CUdeviceptr address)
{
    struct soft_call call;
    struct soft_range range;
    CUresult result = soft_enter(&call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!attributes || !data)
        return CUDA_ERROR_INVALID_VALUE;
    bool known = soft_memory_find(call.tenant, address, &range);
    for (unsigned i = 0; i < count; i++) {
        if (!data[i])
            return CUDA_ERROR_INVALID_VALUE;
        if (!known || attribute_of(&call, &range, attributes[i], address, data[i]) != CUDA_SUCCESS)
            attribute_none(attributes[i], data[i]);
    }
    return CUDA_SUCCESS;
}
