/* What a pointer points to, answered from the table of ranges. */
#include <string.h>

#include "context.h"
#include "generated/custom.h"
#include "ranges.h"

#define ACCESS_READWRITE 3u /* CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE */

CUresult shim_cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr)
{
    CUresult result = shim_current(NULL, NULL);
    struct shim_range range;
    if (result)
        return result;
    if (!shim_range_find(dptr, &range))
        return CUDA_ERROR_NOT_FOUND;
    if (pbase)
        *pbase = range.base;
    if (psize)
        *psize = range.bytes;
    return CUDA_SUCCESS;
}

static CUresult find_host(void *p, struct shim_range *range)
{
    CUresult result = shim_current(NULL, NULL);
    if (result)
        return result;
    bool host = shim_range_find((uintptr_t)p, range) && range->kind == SHIM_RANGE_PINNED;
    return host ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult shim_cuMemHostGetDevicePointer_v2(CUdeviceptr *pdptr, void *p, unsigned int Flags)
{
    struct shim_range range;
    if (!pdptr || Flags)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = find_host(p, &range);
    if (result)
        return result;
    *pdptr = (uintptr_t)p;
    return CUDA_SUCCESS;
}

CUresult shim_cuMemHostGetFlags(unsigned int *pFlags, void *p)
{
    struct shim_range range;
    CUresult result = pFlags ? find_host(p, &range) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *pFlags = range.flags |
                  CU_MEMHOSTALLOC_DEVICEMAP; /* unified addressing maps what was allocated */
    return result;
}

/* Values by size: attributes are 32-bit or 64-bit (pointers, sizes, ids), as CUDA documents for
 * each. */
static bool is_wide(CUpointer_attribute attribute)
{
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
        return true;
    default:
        return false;
    }
}

/* False: this kind of memory does not have the attribute. */
static bool read_attribute(const struct shim_range *range, uint64_t address,
                           CUpointer_attribute attribute, uint64_t *value)
{
    bool host = range->kind == SHIM_RANGE_PINNED;
    *value = 0;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
        *value = (uintptr_t)shim_context_handle(range->context);
        return true;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
        *value = host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
        return true;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
        *value = address;
        return true;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        *value = address;
        return host;
    case CU_POINTER_ATTRIBUTE_SYNC_MEMOPS:
        *value = range->sync_memops;
        return true;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID:
        *value = range->id;
        return true;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
        *value = (uint64_t)shim_channel_device(range->channel);
        return true;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
    case CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR:
        *value = range->base;
        return true;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
    case CU_POINTER_ATTRIBUTE_MAPPING_SIZE:
        *value = range->bytes;
        return true;
    case CU_POINTER_ATTRIBUTE_MAPPED:
        *value = 1;
        return true;
    case CU_POINTER_ATTRIBUTE_ACCESS_FLAGS:
        *value = ACCESS_READWRITE;
        return true;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
    case CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES:
    case CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE:
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
    case CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE:
        return true;
    default:
        return false;
    }
}

static void store(void *data, CUpointer_attribute attribute, uint64_t value)
{
    uint32_t narrow = (uint32_t)value;
    if (is_wide(attribute))
        memcpy(data, &value, sizeof value);
    else
        memcpy(data, &narrow, sizeof narrow);
}

CUresult shim_cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr)
{
    CUresult result = shim_ready();
    struct shim_range range;
    uint64_t value;
    if (result)
        return result;
    if (!data || !shim_range_find(ptr, &range) || !read_attribute(&range, ptr, attribute, &value))
        return CUDA_ERROR_INVALID_VALUE;
    store(data, attribute, value);
    return CUDA_SUCCESS;
}

/* Unlike the single query, this one answers for any pointer: what does not apply is zero (-2 for
 * the ordinal of memory that CUDA does not know, as the driver reports it). */
CUresult shim_cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes,
                                     void **data, CUdeviceptr ptr)
{
    CUresult result = shim_ready();
    if (result)
        return result;
    if (!attributes || !data)
        return CUDA_ERROR_INVALID_VALUE;
    for (unsigned i = 0; i < numAttributes; i++)
        if (!data[i] || !attributes[i] ||
            attributes[i] > CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE ||
            attributes[i] == CU_POINTER_ATTRIBUTE_P2P_TOKENS)
            return CUDA_ERROR_INVALID_VALUE;
    struct shim_range range;
    bool known = shim_range_find(ptr, &range);
    for (unsigned i = 0; i < numAttributes; i++) {
        uint64_t value = 0;
        if (!known && attributes[i] == CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL)
            value = (uint64_t)-2;
        else if (known && !read_attribute(&range, ptr, attributes[i], &value))
            value = 0;
        store(data[i], attributes[i], value);
    }
    return CUDA_SUCCESS;
}

CUresult shim_cuPointerSetAttribute(const void *value, CUpointer_attribute attribute,
                                    CUdeviceptr ptr)
{
    CUresult result = shim_ready();
    if (result)
        return result;
    uint32_t sync_memops;
    if (!value || attribute != CU_POINTER_ATTRIBUTE_SYNC_MEMOPS)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(&sync_memops, value, sizeof sync_memops);
    return shim_range_set_sync(ptr, sync_memops != 0) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
