#include "engine/device/driver_cuda.h"

#include "engine/device/driver.h"
#include "engine/stats.h"

/* All words of ours go through the urgent stream, so that a late rise of a flag cannot come after
 * what lowers it. */

static const char *load(struct driver *driver, void *library) { return NULL; }

static CUresult configure(struct driver *driver, const struct tally_engine_config *config,
                          const struct device_callbacks *callbacks)
{
    return CUDA_SUCCESS;
}

static CUresult tenant_open(struct driver *driver, uint32_t index, bool high, uint32_t *tenant)
{
    *tenant = index + 1;
    return CUDA_SUCCESS;
}

static void tenant_nothing(struct driver *driver, uint32_t tenant) {}

static bool tenant_stop(struct driver *driver, uint32_t tenant) { return false; }

static CUresult tenant_set_pinned(struct driver *driver, uint32_t tenant, uint64_t base,
                                  uint64_t bytes)
{
    return CUDA_SUCCESS;
}

static void tenant_region(struct driver *driver, uint32_t tenant, uint64_t *base, uint64_t *bytes)
{
}

static void tenant_fault(struct driver *driver, uint32_t tenant, char *text, size_t bytes) {}

static void tag(struct driver *driver, uint64_t number) {}

static void unpin(struct driver *driver, void *base)
{
    if (driver->cu.cuMemHostUnregister)
        driver->cu.cuMemHostUnregister(base);
}

static CUresult pin(struct driver *driver, void *base, size_t bytes, unsigned flags)
{
    const struct tally_driver *cu = &driver->cu;
    CUdeviceptr address = 0;
    if (!cu->cuMemHostRegister_v2 || !cu->cuMemHostGetDevicePointer_v2)
        return CUDA_ERROR_NOT_SUPPORTED;
    CUresult result = cu->cuMemHostRegister_v2(base, bytes, flags);
    if (result != CUDA_SUCCESS)
        return result;
    result = cu->cuMemHostGetDevicePointer_v2(&address, base, 0);
    if (result == CUDA_SUCCESS && address != (CUdeviceptr)base)
        result = CUDA_ERROR_NOT_SUPPORTED;
    if (result != CUDA_SUCCESS)
        unpin(driver, base);
    return result;
}

/* One call that waits for nothing of the device's. */
static void store(struct driver *driver, CUdeviceptr word, uint32_t value)
{
    const struct tally_driver *cu = &driver->cu;
    cu->cuCtxSetCurrent(driver->context); /* whoever changes a policy may have none */
    if (!cu->cuStreamWriteValue32_v2 ||
        cu->cuStreamWriteValue32_v2(driver->urgent, word, value, 0) != CUDA_SUCCESS)
        cu->cuMemsetD32Async(word, value, 1, driver->urgent);
}

static CUresult settle(struct driver *driver)
{
    return driver->cu.cuStreamSynchronize(driver->urgent);
}

static CUresult write(struct driver *driver, CUdeviceptr to, const uint32_t *words, size_t count)
{
    CUresult result =
        driver->cu.cuMemcpyHtoDAsync_v2(to, words, count * sizeof *words, driver->urgent);
    return result == CUDA_SUCCESS ? settle(driver) : result;
}

static CUresult clear(struct driver *driver, CUdeviceptr address, size_t bytes)
{
    return driver->cu.cuMemsetD8Async(address, 0, bytes, driver->urgent);
}

static CUresult copy(struct driver *driver, CUdeviceptr to, CUdeviceptr from, size_t bytes)
{
    return driver->cu.cuMemcpyDtoDAsync_v2(to, from, bytes, driver->urgent);
}

static CUresult fetch(struct driver *driver, CUdeviceptr flag, CUdeviceptr started,
                      uint32_t *fetched)
{
    const struct tally_driver *cu = &driver->cu;
    CUresult result = cu->cuMemcpyDtoHAsync_v2(fetched, started, sizeof *fetched, driver->urgent);
    if (result == CUDA_SUCCESS)
        result = cu->cuMemsetD32Async(flag, 0, 1, driver->urgent);
    return result == CUDA_SUCCESS ? settle(driver) : result;
}

static uint32_t ran(struct driver *driver, CUdeviceptr started, uint32_t fetched)
{
    return fetched;
}

static CUresult look(struct driver *driver, CUdeviceptr started, uint32_t *now)
{
    CUresult result = driver->cu.cuMemcpyDtoHAsync_v2(now, started, sizeof *now, driver->urgent);
    return result == CUDA_SUCCESS ? settle(driver) : result;
}

static void lower(struct driver *driver, CUdeviceptr flag) {}

const struct device_ops driver_cuda_ops = {
    .name = "cuda",
    .free_waits = true,
    .store_calls = true,
    .load = load,
    .configure = configure,
    .tenant_open = tenant_open,
    .tenant_close = tenant_nothing,
    .tenant_enter = tenant_nothing,
    .tenant_leave = tenant_nothing,
    .tenant_stop = tenant_stop,
    .tenant_set_pinned = tenant_set_pinned,
    .tenant_region = tenant_region,
    .tenant_fault = tenant_fault,
    .tag = tag,
    .pin = pin,
    .unpin = unpin,
    .store = store,
    .write = write,
    .clear = clear,
    .copy = copy,
    .settle = settle,
    .fetch = fetch,
    .ran = ran,
    .look = look,
    .lower = lower,
};
