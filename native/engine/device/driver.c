#include "engine/device/driver.h"

#include <dlfcn.h>
#include <stdio.h>

#include "engine/stats.h"

/* Without these no session can be served; what is not named here is checked where it is used. */
/* clang-format off */
#define DRIVER_NEEDS(X)                                                                            \
    X(cuInit) X(cuDriverGetVersion) X(cuDeviceGet) X(cuDeviceGetCount) X(cuDeviceGetName)          \
    X(cuDeviceGetAttribute) X(cuDeviceTotalMem_v2) X(cuDevicePrimaryCtxRetain)                     \
    X(cuDevicePrimaryCtxRelease_v2) X(cuCtxSetCurrent) X(cuCtxGetStreamPriorityRange)              \
    X(cuCtxGetLimit) X(cuMemAlloc_v2) X(cuMemFree_v2) X(cuMemGetInfo_v2) X(cuMemcpyHtoDAsync_v2)   \
    X(cuMemcpyDtoHAsync_v2) X(cuMemcpyDtoDAsync_v2) X(cuMemcpy3DAsync_v2) X(cuMemsetD8Async)       \
    X(cuMemsetD16Async) X(cuMemsetD32Async) X(cuMemsetD2D8Async) X(cuMemsetD2D16Async)             \
    X(cuMemsetD2D32Async) X(cuModuleLoadDataEx) X(cuModuleUnload) X(cuModuleGetFunction)           \
    X(cuModuleGetGlobal_v2) X(cuFuncGetAttribute) X(cuLaunchKernel) X(cuStreamCreateWithPriority)  \
    X(cuStreamDestroy_v2) X(cuStreamQuery) X(cuStreamSynchronize) X(cuStreamWaitEvent)             \
    X(cuEventCreate) X(cuEventDestroy_v2) X(cuEventRecord) X(cuEventQuery) X(cuEventSynchronize)
/* clang-format on */

static const char *missing_symbol(const struct driver *driver)
{
#define CHECK(symbol)                                                                              \
    if (!driver->cu.symbol)                                                                        \
        return #symbol;
    DRIVER_NEEDS(CHECK)
#undef CHECK
    return NULL;
}

bool driver_load(struct driver *driver, const char *path, const struct device_ops *ops, char *error,
                 size_t error_bytes)
{
    *driver = (struct driver){.ops = ops};
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        snprintf(error, error_bytes, "cannot load the driver: %s", why ? why : path);
        return false;
    }
#define FILL(symbol) *(void **)&driver->cu.symbol = dlsym(library, #symbol);
    TALLY_DRIVER_EACH(FILL)
#undef FILL
    const char *missing = missing_symbol(driver);
    if (!missing)
        missing = ops->load(driver, library);
    if (!missing)
        return true;
    snprintf(error, error_bytes, "the driver library %s has no %s", path, missing);
    return false;
}

const char *driver_error_text(const struct driver *driver, CUresult result, char *out, size_t bytes)
{
    const char *name = NULL;
    if (!driver->cu.cuGetErrorName || driver->cu.cuGetErrorName(result, &name) != CUDA_SUCCESS ||
        !name)
        name = "error";
    snprintf(out, bytes, "%s (%d)", name, (int)result);
    return out;
}
