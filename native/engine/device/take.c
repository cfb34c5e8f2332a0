#include "engine/device/take.h"

#include <string.h>

#include "engine/engine.h"
#include "engine/parts.h"
#include "engine/stats.h"

static CUresult set_up_soft(struct tally_engine *engine, const struct device_callbacks *callbacks)
{
    const struct driver_soft *soft = &engine->driver.soft;
    const struct tally_engine_config *config = &engine->config;
    CUresult result = soft->configure(config->soft_devices, config->soft_workers, config->soft_memory_bytes,
                                      (int)config->soft_dry);
    if (!result)
        result = soft->set_part(config->device);
    if (!result)
        result = soft->set_output(callbacks->output, engine);
    if (!result) /* with events too: launches have no tags then, but failures are told */
        result = soft->set_launch_done(callbacks->launch_done, engine);
    return result;
}

static CUresult read_device(struct tally_engine *engine)
{
    const struct tally_driver *cu = &engine->driver.cu;
    struct tally_device_info *info = &engine->info;
    size_t total = 0;
    int version = 0;
    cu->cuDriverGetVersion(&version);
    engine->driver_version = version;
    CUresult result = cu->cuDeviceGetName(info->name, sizeof info->name, engine->device);
    if (!result)
        result = cu->cuDeviceTotalMem_v2(&total, engine->device);
    if (!result)
        result = cu->cuCtxGetStreamPriorityRange(&info->stream_priority_least, &info->stream_priority_greatest);
    info->total_bytes = total;
    CUuuid uuid = {{0}};
    if (cu->cuDeviceGetUuid_v2)
        cu->cuDeviceGetUuid_v2(&uuid, engine->device);
    memcpy(info->uuid, uuid.bytes, sizeof info->uuid);
    if (cu->cuDeviceGetPCIBusId)
        cu->cuDeviceGetPCIBusId(info->pci_bus_id, sizeof info->pci_bus_id, engine->device);
    for (int i = 1; i < (int)TALLY_DEVICE_ATTRIBUTES; i++)
        if (cu->cuDeviceGetAttribute(&info->attributes[i], (CUdevice_attribute)i, engine->device) != CUDA_SUCCESS)
            info->attributes[i] = 0;
    for (int i = 0; i < 16 && i < CU_LIMIT_MAX; i++) {
        size_t value = 0;
        if (cu->cuCtxGetLimit(&value, (CUlimit)i) == CUDA_SUCCESS)
            info->limits[i] = value;
    }
    return result;
}

/* The context that all sessions share. */
CUresult device_take(struct tally_engine *engine, const struct device_callbacks *callbacks)
{
    const struct tally_driver *cu = &engine->driver.cu;
    CUresult result = engine->driver.is_soft ? set_up_soft(engine, callbacks) : CUDA_SUCCESS;
    if (!result)
        result = cu->cuInit(0);
    int count = 0;
    if (!result)
        result = cu->cuDeviceGetCount(&count);
    if (!result && (int)engine->config.device >= count)
        result = count ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_NO_DEVICE;
    if (!result)
        result = cu->cuDeviceGet(&engine->device, (int)engine->config.device);
    if (!result && cu->cuDevicePrimaryCtxSetFlags_v2) /* waiting threads sleep; fails harmlessly if active */
        cu->cuDevicePrimaryCtxSetFlags_v2(engine->device, CU_CTX_SCHED_BLOCKING_SYNC);
    if (!result)
        result = cu->cuDevicePrimaryCtxRetain(&engine->context, engine->device);
    if (!result)
        result = cu->cuCtxSetCurrent(engine->context);
    return result ? result : read_device(engine);
}
