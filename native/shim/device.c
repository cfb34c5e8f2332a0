/* Devices, as HELLO described them. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "context.h"
#include "generated/custom.h"

/* What Tally does not offer, whatever the device could do: programs ask before they use it. */
static const struct {
    CUdevice_attribute attribute;
    int value;
} overrides[] = {
    {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 0},
    {CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_READ_ONLY_HOST_REGISTER_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, CU_COMPUTEMODE_DEFAULT},
    {CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 0},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 0},
    {CU_DEVICE_ATTRIBUTE_DIRECT_MANAGED_MEM_ACCESS_FROM_HOST, 0},
    {CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, 0},
    {CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS_USES_HOST_PAGE_TABLES, 0},
    {CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD, 0},
    {CU_DEVICE_ATTRIBUTE_COOPERATIVE_MULTI_DEVICE_LAUNCH, 0},
    {CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_FABRIC_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_GENERIC_COMPRESSION_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_MEM_DECOMPRESS_ALGORITHM_MASK, 0},
    {CU_DEVICE_ATTRIBUTE_MEM_DECOMPRESS_MAXIMUM_LENGTH, 0},
    {CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_DMA_BUF_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_MEMPOOL_SUPPORTED_HANDLE_TYPES, 0},
    {CU_DEVICE_ATTRIBUTE_HOST_NUMA_MEMORY_POOLS_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_HOST_MEMORY_POOLS_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_HOST_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_HOST_NUMA_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_SPARSE_CUDA_ARRAY_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_DEFERRED_MAPPING_CUDA_ARRAY_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_TIMELINE_SEMAPHORE_INTEROP_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_IPC_EVENT_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS, 0},
    {CU_DEVICE_ATTRIBUTE_D3D12_CIG_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_VULKAN_CIG_SUPPORTED, 0},
};

CUresult shim_device_of(CUdevice device, const struct tally_device_info **info)
{
    CUresult status = shim_initialized();
    if (status != CUDA_SUCCESS)
        return status;
    *info = shim_device(device);
    return *info != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

/* Of a device that exists. */
static int attribute(const struct tally_device_info *info, CUdevice_attribute which)
{
    for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++) {
        if (overrides[i].attribute == which)
            return overrides[i].value;
    }
    return info->attributes[which];
}

CUresult shim_cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (pi == NULL || attrib <= 0 || attrib >= CU_DEVICE_ATTRIBUTE_MAX ||
        attrib >= TALLY_DEVICE_ATTRIBUTES)
        return CUDA_ERROR_INVALID_VALUE;
    *pi = attribute(info, attrib);
    return CUDA_SUCCESS;
}

/* The version whose entry points this library has, or the machine's driver where that is older.
 * Works before cuInit and without a daemon. */
CUresult shim_cuDriverGetVersion(int *driverVersion)
{
    if (driverVersion == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    int theirs = shim_init() == CUDA_SUCCESS ? shim_driver_version() : 0;
    *driverVersion = theirs > 0 && theirs < CUDA_VERSION ? theirs : CUDA_VERSION;
    return CUDA_SUCCESS;
}

CUresult shim_cuDeviceGetCount(int *count)
{
    CUresult status = shim_initialized();
    if (status != CUDA_SUCCESS)
        return status;
    if (count == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *count = shim_device_count();
    return CUDA_SUCCESS;
}

CUresult shim_cuDeviceGet(CUdevice *device, int ordinal)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(ordinal, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (device == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult shim_cuDeviceGetName(char *name, int len, CUdevice dev)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (name == NULL || len <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(name, (size_t)len, "%.*s", (int)sizeof info->name, info->name);
    return CUDA_SUCCESS;
}

CUresult shim_cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (uuid == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(uuid->bytes, info->uuid, sizeof uuid->bytes);
    return CUDA_SUCCESS;
}

/* The versions differ only for MIG instances. */
CUresult shim_cuDeviceGetUuid(CUuuid *uuid, CUdevice dev)
{
    return shim_cuDeviceGetUuid_v2(uuid, dev);
}

/* LUIDs exist on Windows only. */
CUresult shim_cuDeviceGetLuid(char *luid, unsigned int *deviceNodeMask, CUdevice dev)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    return status != CUDA_SUCCESS ? status : CUDA_ERROR_NOT_SUPPORTED;
}

CUresult shim_cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (bytes == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *bytes = info->total_bytes;
    return CUDA_SUCCESS;
}

CUresult shim_cuDeviceComputeCapability(int *major, int *minor, CUdevice dev)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (major == NULL || minor == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *major = attribute(info, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    *minor = attribute(info, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    return CUDA_SUCCESS;
}

CUresult shim_cuDeviceGetProperties(CUdevprop *prop, CUdevice dev)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (prop == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *prop = (CUdevprop){
        .maxThreadsPerBlock = attribute(info, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK),
        .maxThreadsDim = {attribute(info, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X),
                          attribute(info, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y),
                          attribute(info, CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z)},
        .maxGridSize = {attribute(info, CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X),
                        attribute(info, CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y),
                        attribute(info, CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z)},
        .sharedMemPerBlock = attribute(info, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK),
        .totalConstantMemory = attribute(info, CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY),
        .SIMDWidth = attribute(info, CU_DEVICE_ATTRIBUTE_WARP_SIZE),
        .memPitch = attribute(info, CU_DEVICE_ATTRIBUTE_MAX_PITCH),
        .regsPerBlock = attribute(info, CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK),
        .clockRate = attribute(info, CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
        .textureAlign = attribute(info, CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT),
    };
    return CUDA_SUCCESS;
}

CUresult shim_cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (pciBusId == NULL || len <= 0)
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(pciBusId, (size_t)len, "%.*s", (int)sizeof info->pci_bus_id, info->pci_bus_id);
    return CUDA_SUCCESS;
}

/* Domain, bus, device and function of "0000:01:00.0"; domain and function may be missing. */
static bool parse_bus_id(const char *text, unsigned int id[4])
{
    char rest;
    if (sscanf(text, "%x:%x:%x.%x%c", &id[0], &id[1], &id[2], &id[3], &rest) == 4)
        return true;
    id[3] = 0;
    if (sscanf(text, "%x:%x:%x%c", &id[0], &id[1], &id[2], &rest) == 3)
        return true;
    id[0] = 0;
    return sscanf(text, "%x:%x.%x%c", &id[1], &id[2], &id[3], &rest) == 3;
}

CUresult shim_cuDeviceGetByPCIBusId(CUdevice *dev, const char *pciBusId)
{
    CUresult status = shim_initialized();
    if (status != CUDA_SUCCESS)
        return status;
    unsigned int wanted[4], candidate[4];
    if (dev == NULL || pciBusId == NULL || !parse_bus_id(pciBusId, wanted))
        return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < shim_device_count(); i++) {
        if (parse_bus_id(shim_device(i)->pci_bus_id, candidate) &&
            memcmp(wanted, candidate, sizeof wanted) == 0) {
            *dev = i;
            return CUDA_SUCCESS;
        }
    }
    return CUDA_ERROR_INVALID_DEVICE;
}

CUresult shim_cuDeviceGetExecAffinitySupport(int *pi, CUexecAffinityType type, CUdevice dev)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (pi == NULL || type >= CU_EXEC_AFFINITY_TYPE_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    *pi = 0;
    return CUDA_SUCCESS;
}

/* Devices belong to different executors: none reaches another's memory. */
CUresult shim_cuDeviceCanAccessPeer(int *canAccessPeer, CUdevice dev, CUdevice peerDev)
{
    const struct tally_device_info *info;
    CUresult status = shim_device_of(dev, &info);
    if (status == CUDA_SUCCESS)
        status = shim_device_of(peerDev, &info);
    if (status != CUDA_SUCCESS)
        return status;
    if (canAccessPeer == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *canAccessPeer = 0;
    return CUDA_SUCCESS;
}

CUresult shim_cuDeviceGetP2PAttribute(int *value, CUdevice_P2PAttribute attrib, CUdevice srcDevice,
                                      CUdevice dstDevice)
{
    CUresult status = shim_cuDeviceCanAccessPeer(value, srcDevice, dstDevice);
    if (status == CUDA_SUCCESS &&
        (attrib < CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK ||
         attrib > CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED))
        return CUDA_ERROR_INVALID_VALUE;
    return status == CUDA_SUCCESS && srcDevice == dstDevice ? CUDA_ERROR_INVALID_DEVICE : status;
}

CUresult shim_cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
    CUresult status = shim_initialized();
    if (status != CUDA_SUCCESS)
        return status;
    if (mode == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    *mode = CU_MODULE_LAZY_LOADING;
    return CUDA_SUCCESS;
}

/* There is no profiler to steer; programs that bracket a region with these run as without one. */
CUresult shim_cuProfilerStart(void) { return shim_current(NULL, NULL); }

CUresult shim_cuProfilerStop(void) { return shim_current(NULL, NULL); }

CUresult shim_cuProfilerInitialize(const char *configFile, const char *outputFile,
                                   CUoutput_mode mode)
{
    return CUDA_ERROR_PROFILER_DISABLED; /* since CUDA 12 of every driver */
}
