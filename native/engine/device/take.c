#include "engine/device/take.h"

#include <string.h>

#include "engine/device/stores.h"
#include "engine/parts.h"
#include "engine/stats.h"

static CUresult read_device(struct tally_engine *engine)
{
    const struct tally_driver *cu = &engine->driver.cu;
    struct tally_device_info *info = &engine->info;
    size_t total = 0;
    int version = 0;
    cu->cuDriverGetVersion(&version);
    engine->driver_version = version;
    CUresult result = cu->cuDeviceGetName(info->name, sizeof info->name, engine->driver.device);
    if (!result)
        result = cu->cuDeviceTotalMem_v2(&total, engine->driver.device);
    if (!result)
        result = cu->cuCtxGetStreamPriorityRange(&info->stream_priority_least,
                                                 &info->stream_priority_greatest);
    info->total_bytes = total;
    CUuuid uuid = {{0}};
    if (cu->cuDeviceGetUuid_v2)
        cu->cuDeviceGetUuid_v2(&uuid, engine->driver.device);
    memcpy(info->uuid, uuid.bytes, sizeof info->uuid);
    if (cu->cuDeviceGetPCIBusId)
        cu->cuDeviceGetPCIBusId(info->pci_bus_id, sizeof info->pci_bus_id, engine->driver.device);
    for (int i = 1; i < (int)TALLY_DEVICE_ATTRIBUTES; i++)
        if (cu->cuDeviceGetAttribute(&info->attributes[i], (CUdevice_attribute)i,
                                     engine->driver.device) != CUDA_SUCCESS)
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
    CUresult result = engine->driver.ops->configure(&engine->driver, &engine->config, callbacks);
    if (!result && engine->driver.ops->store_calls) {
        engine->driver.stores = stores_open(&engine->driver);
        result = engine->driver.stores ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (!result)
        result = cu->cuInit(0);
    int count = 0;
    if (!result)
        result = cu->cuDeviceGetCount(&count);
    if (!result && (int)engine->config.device >= count)
        result = count ? CUDA_ERROR_INVALID_DEVICE : CUDA_ERROR_NO_DEVICE;
    if (!result)
        result = cu->cuDeviceGet(&engine->driver.device, (int)engine->config.device);
    if (!result &&
        cu->cuDevicePrimaryCtxSetFlags_v2) /* waiting threads sleep; fails harmlessly if active */
        cu->cuDevicePrimaryCtxSetFlags_v2(engine->driver.device, CU_CTX_SCHED_BLOCKING_SYNC);
    if (!result)
        result = cu->cuDevicePrimaryCtxRetain(&engine->driver.context, engine->driver.device);
    if (!result)
        result = cu->cuCtxSetCurrent(engine->driver.context);
    if (!result)
        result = read_device(engine);
    if (!result)
        result = cu->cuStreamCreateWithPriority(&engine->driver.urgent, CU_STREAM_NON_BLOCKING,
                                                engine->info.stream_priority_greatest);
    return result;
}

void device_give(struct tally_engine *engine)
{
    const struct tally_driver *cu = &engine->driver.cu;
    stores_settle(&engine->driver);
    if (engine->driver.urgent)
        cu->cuStreamDestroy_v2(engine->driver.urgent);
    if (engine->driver.context)
        cu->cuDevicePrimaryCtxRelease_v2(engine->driver.device);
}
