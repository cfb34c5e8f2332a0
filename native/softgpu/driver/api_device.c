/* Devices: what they are called and what they can do. Plausible values of an sm_80. */
#include <stdio.h>
#include <string.h>

#include "soft.h"

#define PCI_BUS_FIRST 0x70 /* bus numbers that no real device is likely to have */

static const int attributes[][2] = {
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, INT32_MAX},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, SOFT_SHARED_DEFAULT},
    {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 65536},
    {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
    {CU_DEVICE_ATTRIBUTE_MAX_PITCH, INT32_MAX},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
    {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, 1000000},
    {CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, 512},
    {CU_DEVICE_ATTRIBUTE_GPU_OVERLAP, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, CU_COMPUTEMODE_DEFAULT},
    {CU_DEVICE_ATTRIBUTE_SURFACE_ALIGNMENT, 512},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
    {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, 1000000},
    {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, 128},
    {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, 4 << 20},
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 1024},
    {CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 2},
    {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
    {CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT, 32},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 8},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0},
    {CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 164 << 10},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
    {CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO, 2},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_MEM_OPS_V1, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR_V1, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS_V1, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR, 1},
    {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 1},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, SOFT_SHARED_MAX},
    {CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, SOFT_RESIDENT_MAX},
    {CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 1024},
    /* Texture limits: reported because programs print them; textures are not supported. */
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_WIDTH, 131072},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_WIDTH, 131072},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_HEIGHT, 65536},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_WIDTH, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_HEIGHT, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE3D_DEPTH, 16384},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE1D_LINEAR_WIDTH, 268435456},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_WIDTH, 131072},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_HEIGHT, 65000},
    {CU_DEVICE_ATTRIBUTE_MAXIMUM_TEXTURE2D_LINEAR_PITCH, 2097120},
};

static CUresult device_get(CUdevice ordinal, struct soft_device **device)
{
    struct soft_call call;
    CUresult result = soft_enter_tenant(&call);
    if (result == CUDA_ERROR_NOT_INITIALIZED)
        return result; /* a sticky error does not make device properties unreadable */
    if (ordinal < 0 || (uint32_t)ordinal >= soft.device_count)
        return CUDA_ERROR_INVALID_DEVICE;
    *device = &soft.devices[ordinal];
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDriverGetVersion(int *version)
{
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = SOFT_DRIVER_VERSION;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetCount(int *count)
{
    struct soft_call call;
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    if (soft_enter_tenant(&call) == CUDA_ERROR_NOT_INITIALIZED)
        return CUDA_ERROR_NOT_INITIALIZED;
    *count = (int)soft.device_count;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    struct soft_device *found;
    if (!device)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = device_get(ordinal, &found);
    if (result == CUDA_SUCCESS)
        *device = ordinal;
    return result;
}

SOFT_API CUresult cuDeviceGetName(char *name, int bytes, CUdevice ordinal)
{
    struct soft_device *device;
    CUresult result = device_get(ordinal, &device);
    if (result != CUDA_SUCCESS)
        return result;
    if (!name || bytes <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(name, (size_t)bytes, "Tally softgpu");
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice ordinal)
{
    struct soft_device *device;
    CUresult result = device_get(ordinal, &device);
    if (result != CUDA_SUCCESS)
        return result;
    if (!uuid)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(uuid->bytes, "tally-softgpu-\0\0", 16);
    uuid->bytes[15] = (char)(device->index + 1);
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice ordinal)
{
    return cuDeviceGetUuid_v2(uuid, ordinal);
}

SOFT_API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice ordinal)
{
    struct soft_device *device;
    CUresult result = device_get(ordinal, &device);
    if (result != CUDA_SUCCESS)
        return result;
    if (!bytes)
        return CUDA_ERROR_INVALID_VALUE;
    *bytes = soft.memory_bytes;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice ordinal)
{
    struct soft_device *device;
    CUresult result = device_get(ordinal, &device);
    if (result != CUDA_SUCCESS)
        return result;
    if (!value || (int)attribute < 1 || attribute >= CU_DEVICE_ATTRIBUTE_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    *value = 0;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = (int)device->worker_count;
        break;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
        *value = PCI_BUS_FIRST + (int)device->index;
        break;
    default:
        for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
            if (attributes[i][0] == (int)attribute)
                *value = attributes[i][1];
    }
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice ordinal)
{
    struct soft_device *device;
    CUresult result = device_get(ordinal, &device);
    if (result != CUDA_SUCCESS)
        return result;
    if (!major || !minor)
        return CUDA_ERROR_INVALID_VALUE;
    *major = 8;
    *minor = 0;
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetProperties(CUdevprop *properties, CUdevice ordinal)
{
    struct soft_device *device;
    CUresult result = device_get(ordinal, &device);
    if (result != CUDA_SUCCESS)
        return result;
    if (!properties)
        return CUDA_ERROR_INVALID_VALUE;
    *properties = (CUdevprop){
        .maxThreadsPerBlock = 1024,
        .maxThreadsDim = {1024, 1024, 64},
        .maxGridSize = {INT32_MAX, 65535, 65535},
        .sharedMemPerBlock = (int)SOFT_SHARED_DEFAULT,
        .totalConstantMemory = 65536,
        .SIMDWidth = 32,
        .memPitch = INT32_MAX,
        .regsPerBlock = 65536,
        .clockRate = 1000000,
        .textureAlign = 512,
    };
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetPCIBusId(char *text, int bytes, CUdevice ordinal)
{
    struct soft_device *device;
    CUresult result = device_get(ordinal, &device);
    if (result != CUDA_SUCCESS)
        return result;
    if (!text || bytes < 13)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(text, (size_t)bytes, "0000:%02X:00.0", PCI_BUS_FIRST + device->index);
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuDeviceGetByPCIBusId(CUdevice *device, const char *text)
{
    unsigned domain = 0, bus = 0, slot = 0;
    struct soft_device *found;
    if (!device || !text)
        return CUDA_ERROR_INVALID_VALUE;
    if (sscanf(text, "%x:%x:%x", &domain, &bus, &slot) != 3 &&
        sscanf(text, "%x:%x", &bus, &slot) != 2)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = device_get((CUdevice)bus - PCI_BUS_FIRST, &found);
    if (result == CUDA_SUCCESS)
        *device = (CUdevice)found->index;
    return result;
}

/* Every device is the same process's memory, but kernels of one are not meant to depend on that. */
SOFT_API CUresult cuDeviceCanAccessPeer(int *can, CUdevice ordinal, CUdevice peer)
{
    struct soft_device *device;
    CUresult result = device_get(ordinal, &device);
    if (result == CUDA_SUCCESS)
        result = device_get(peer, &device);
    if (result == CUDA_SUCCESS && !can)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *can = 0;
    return result;
}

SOFT_API CUresult cuDeviceGetP2PAttribute(int *value, CUdevice_P2PAttribute attribute,
                                          CUdevice source, CUdevice target)
{
    return cuDeviceCanAccessPeer(value, source, target);
}

SOFT_API CUresult cuDeviceGetExecAffinitySupport(int *supported, CUexecAffinityType type,
                                                 CUdevice ordinal)
{
    struct soft_device *device;
    CUresult result = device_get(ordinal, &device);
    if (result == CUDA_SUCCESS && !supported)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result == CUDA_SUCCESS)
        *supported = 0;
    return result;
}
