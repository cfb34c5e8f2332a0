/* What is known of a function since it was looked up, and its few settable attributes. */
#include "functions.h"
#include "generated/calls.h"
#include "generated/custom.h"
#include "modules.h"

/* What is asked or set through the wire goes to the current context's device, which so has to know
 * it. */
static CUresult find(const void *handle, struct shim_function **out)
{
    CUresult result = shim_ready();
    if (result)
        return result;
    *out = shim_function_get((uintptr_t)handle);
    if (!*out)
        return CUDA_ERROR_INVALID_HANDLE;
    struct shim_channel *channel;
    bool elsewhere = (*out)->module->library && shim_current(NULL, &channel) == CUDA_SUCCESS;
    return elsewhere ? shim_function_on(*out, channel) : CUDA_SUCCESS;
}

static CUresult get_attribute(int *value, CUfunction_attribute attribute, const void *handle)
{
    struct shim_function *function;
    if (!value || attribute >= CU_FUNC_ATTRIBUTE_MAX || attribute >= TALLY_FUNCTION_ATTRIBUTES)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = find(handle, &function);
    if (!result)
        *value = __atomic_load_n(&function->attributes[attribute], __ATOMIC_RELAXED);
    return result;
}

/* Programs set the same value again before every launch. Skipped only where one device alone
 * knows the function: with several, the value that is remembered may be another device's. */
static bool is_set(const struct shim_function *function, CUfunction_attribute attribute, int value)
{
    uint32_t devices = atomic_load_explicit(&function->devices, memory_order_relaxed);
    bool settable = attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES ||
                    attribute == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
    return settable && !(devices & (devices - 1)) &&
           __atomic_load_n(&function->attributes[attribute], __ATOMIC_RELAXED) == value;
}

/* The executor decides; what it accepted is what launches are held against. */
static CUresult set_attribute(void *handle, CUfunction_attribute attribute, int value)
{
    struct shim_function *function;
    if (attribute >= CU_FUNC_ATTRIBUTE_MAX || attribute >= TALLY_FUNCTION_ATTRIBUTES)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = find(handle, &function);
    if (!result && is_set(function, attribute, value))
        return shim_current(NULL, NULL);
    if (!result)
        result = wire_cuFuncSetAttribute(handle, attribute, value);
    if (!result)
        __atomic_store_n(&function->attributes[attribute], value, __ATOMIC_RELAXED);
    return result;
}

CUresult shim_cuFuncGetAttribute(int *pi, CUfunction_attribute attrib, CUfunction hfunc)
{
    return get_attribute(pi, attrib, hfunc);
}

CUresult shim_cuKernelGetAttribute(int *pi, CUfunction_attribute attrib, CUkernel kernel,
                                   CUdevice dev)
{
    return shim_device(dev) ? get_attribute(pi, attrib, kernel) : CUDA_ERROR_INVALID_DEVICE;
}

CUresult shim_cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value)
{
    return set_attribute(hfunc, attrib, value);
}

CUresult shim_cuKernelSetAttribute(CUfunction_attribute attrib, int val, CUkernel kernel,
                                   CUdevice dev)
{
    return shim_device(dev) ? set_attribute(kernel, attrib, val) : CUDA_ERROR_INVALID_DEVICE;
}

CUresult shim_cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config)
{
    struct shim_function *function;
    if (config > CU_FUNC_CACHE_PREFER_EQUAL)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = find(hfunc, &function);
    return result ? result : wire_cuFuncSetCacheConfig(hfunc, config);
}

CUresult shim_cuKernelSetCacheConfig(CUkernel kernel, CUfunc_cache config, CUdevice dev)
{
    return shim_device(dev) ? shim_cuFuncSetCacheConfig((CUfunction)kernel, config)
                            : CUDA_ERROR_INVALID_DEVICE;
}

CUresult shim_cuFuncSetSharedMemConfig(CUfunction hfunc, CUsharedconfig config)
{
    struct shim_function *function;
    if (config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = find(hfunc, &function);
    return result ? result : wire_cuFuncSetSharedMemConfig(hfunc, config);
}

static CUresult get_name(const char **name, const void *handle)
{
    struct shim_function *function;
    CUresult result = name ? find(handle, &function) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *name = function->name;
    return result;
}

CUresult shim_cuFuncGetName(const char **name, CUfunction hfunc) { return get_name(name, hfunc); }

CUresult shim_cuKernelGetName(const char **name, CUkernel hfunc) { return get_name(name, hfunc); }

CUresult shim_cuFuncGetModule(CUmodule *hmod, CUfunction hfunc)
{
    struct shim_function *function;
    CUresult result = hmod ? find(hfunc, &function) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *hmod = (CUmodule)(uintptr_t)function->module->handle;
    return result;
}

CUresult shim_cuKernelGetFunction(CUfunction *pFunc, CUkernel kernel)
{
    struct shim_function *function;
    CUresult result = pFunc ? find(kernel, &function) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *pFunc = (CUfunction)(uintptr_t)function->handle;
    return result;
}

CUresult shim_cuKernelGetLibrary(CUlibrary *pLib, CUkernel kernel)
{
    struct shim_function *function;
    CUresult result = pLib ? find(kernel, &function) : CUDA_ERROR_INVALID_VALUE;
    if (!result && !function->module->library)
        result = CUDA_ERROR_INVALID_HANDLE;
    if (!result)
        *pLib = (CUlibrary)(uintptr_t)function->module->handle;
    return result;
}

static CUresult param_info(const void *handle, size_t index, size_t *offset, size_t *size)
{
    struct shim_function *function;
    CUresult result = offset ? find(handle, &function) : CUDA_ERROR_INVALID_VALUE;
    if (!result && index >= function->param_count)
        result = CUDA_ERROR_INVALID_VALUE;
    if (result)
        return result;
    *offset = function->params[index].offset;
    if (size)
        *size = function->params[index].bytes;
    return result;
}

CUresult shim_cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t *paramOffset,
                                 size_t *paramSize)
{
    return param_info(func, paramIndex, paramOffset, paramSize);
}

CUresult shim_cuKernelGetParamInfo(CUkernel kernel, size_t paramIndex, size_t *paramOffset,
                                   size_t *paramSize)
{
    return param_info(kernel, paramIndex, paramOffset, paramSize);
}

/* The executor loads what a module holds when the module is loaded. */
CUresult shim_cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction function)
{
    struct shim_function *found;
    CUresult result = state ? find(function, &found) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *state = CU_FUNCTION_LOADING_STATE_LOADED;
    return result;
}

CUresult shim_cuFuncLoad(CUfunction function)
{
    struct shim_function *found;
    return find(function, &found);
}
