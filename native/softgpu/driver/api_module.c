/* Modules and libraries. A library is a module that is loaded at once; its kernels are its
 * functions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "module.h"

#define FILE_BYTES_MAX (1l << 30)

/* Option values are passed in pointers. The two log sizes are also results: bytes written. */
static struct soft_log read_options(unsigned count, const CUjit_option *options, void **values)
{
    struct soft_log log = {0};
    for (unsigned i = 0; options && values && i < count; i++) {
        switch (options[i]) {
        case CU_JIT_ERROR_LOG_BUFFER:
            log.error = values[i];
            break;
        case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
            log.error_bytes = (uint32_t)(uintptr_t)values[i];
            break;
        case CU_JIT_INFO_LOG_BUFFER:
            log.info = values[i];
            break;
        case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
            log.info_bytes = (uint32_t)(uintptr_t)values[i];
            break;
        default:
            break; /* register limits, targets, ...: hints to a compiler that we are not */
        }
    }
    if (log.error && log.error_bytes)
        log.error[0] = 0;
    if (log.info && log.info_bytes)
        log.info[0] = 0;
    return log;
}

static void write_sizes(const struct soft_log *log, unsigned count, const CUjit_option *options,
                        void **values)
{
    size_t error = log->error && log->error_bytes ? strnlen(log->error, log->error_bytes) : 0;
    for (unsigned i = 0; options && values && i < count; i++) {
        if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            values[i] = (void *)(uintptr_t)error;
        else if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES)
            values[i] = NULL;
    }
}

static CUresult load(const void *image, unsigned count, const CUjit_option *options, void **values,
                     struct soft_call *call, struct soft_module **module)
{
    CUresult result = soft_enter(call);
    if (result != CUDA_SUCCESS)
        return result;
    if (!image)
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_log log = read_options(count, options, values);
    result = soft_module_load(call, image, &log, module);
    write_sizes(&log, count, options, values);
    return result;
}

/* A file's bytes, with a NUL behind them. */
static CUresult read_file(const char *name, char **bytes)
{
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    FILE *file = fopen(name, "rb");
    if (!file)
        return CUDA_ERROR_FILE_NOT_FOUND;
    CUresult result = CUDA_ERROR_INVALID_IMAGE;
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    *bytes = NULL;
    if (size > 0 && size <= FILE_BYTES_MAX && (*bytes = calloc(1, (size_t)size + 1))) {
        rewind(file);
        if (fread(*bytes, 1, (size_t)size, file) == (size_t)size)
            result = CUDA_SUCCESS;
    }
    fclose(file);
    if (result != CUDA_SUCCESS)
        free(*bytes);
    return result;
}

/* ---- modules -------------------------------------------------------------------------------- */

SOFT_API CUresult cuModuleLoadDataEx(CUmodule *out, const void *image, unsigned int count,
                                     CUjit_option *options, void **values)
{
    struct soft_call call;
    struct soft_module *module;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = load(image, count, options, values, &call, &module);
    if (result == CUDA_SUCCESS)
        *out = (CUmodule)module->object.handle;
    return result;
}

SOFT_API CUresult cuModuleLoadData(CUmodule *out, const void *image)
{
    return cuModuleLoadDataEx(out, image, 0, NULL, NULL);
}

SOFT_API CUresult cuModuleLoadFatBinary(CUmodule *out, const void *image)
{
    return cuModuleLoadDataEx(out, image, 0, NULL, NULL);
}

SOFT_API CUresult cuModuleLoad(CUmodule *out, const char *name)
{
    char *bytes;
    CUresult result = read_file(name, &bytes);
    if (result != CUDA_SUCCESS)
        return result;
    result = cuModuleLoadDataEx(out, bytes, 0, NULL, NULL);
    free(bytes);
    return result;
}

/* Enters, takes the lock, finds the module or library. On success the caller holds the lock. */
static CUresult enter_module(struct soft_call *call, const void *handle, enum soft_kind kind,
                             struct soft_module **module)
{
    CUresult result = soft_enter(call);
    if (result != CUDA_SUCCESS)
        return result;
    soft_lock();
    void *object = soft_handle_get(handle, kind, call->tenant->id);
    if (!object) {
        soft_unlock();
        return CUDA_ERROR_INVALID_HANDLE;
    }
    *module = kind == SOFT_LIBRARY ? ((struct soft_library *)object)->module : object;
    return CUDA_SUCCESS;
}

static CUresult unload(const void *handle, enum soft_kind kind)
{
    struct soft_call call;
    CUresult result = soft_enter(&call);
    if (result == CUDA_ERROR_NOT_INITIALIZED || !call.tenant)
        return result;
    soft_lock();
    void *object = soft_handle_get(handle, kind, call.tenant->id);
    struct soft_module *module =
        object && kind == SOFT_LIBRARY ? ((struct soft_library *)object)->module : object;
    if (module && kind == SOFT_MODULE && module->library)
        module = NULL; /* cuLibraryGetModule's: the library's to unload */
    if (module)
        soft_module_unload(call.tenant, module);
    else if (result == CUDA_SUCCESS)
        result = CUDA_ERROR_INVALID_HANDLE;
    soft_unlock();
    soft_module_release();
    return result;
}

SOFT_API CUresult cuModuleUnload(CUmodule handle) { return unload(handle, SOFT_MODULE); }

SOFT_API CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode *mode)
{
    if (!mode)
        return CUDA_ERROR_INVALID_VALUE;
    *mode = CU_MODULE_LAZY_LOADING;
    return CUDA_SUCCESS;
}

static CUresult get_function(const void *handle, enum soft_kind kind, const char *name,
                             uint64_t *function)
{
    struct soft_call call;
    struct soft_module *module;
    if (!function || !name)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_module(&call, handle, kind, &module);
    if (result != CUDA_SUCCESS)
        return result;
    result = CUDA_ERROR_NOT_FOUND;
    for (uint32_t i = 0; i < module->code->kernel_count && result != CUDA_SUCCESS; i++) {
        if (strcmp(module->code->kernels[i].name, name) == 0) {
            *function = module->functions[i].object.handle;
            result = CUDA_SUCCESS;
        }
    }
    soft_unlock();
    return result;
}

static CUresult get_global(const void *handle, enum soft_kind kind, const char *name,
                           CUdeviceptr *address, size_t *bytes)
{
    struct soft_call call;
    struct soft_module *module;
    if (!name || (!address && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_module(&call, handle, kind, &module);
    if (result != CUDA_SUCCESS)
        return result;
    result = CUDA_ERROR_NOT_FOUND;
    for (uint32_t i = 0; i < module->code->global_count && result != CUDA_SUCCESS; i++) {
        const struct soft_global *global = &module->code->globals[i];
        if (strcmp(global->name, name) != 0)
            continue;
        if (address)
            *address = module->globals + global->offset;
        if (bytes)
            *bytes = global->bytes;
        result = CUDA_SUCCESS;
    }
    soft_unlock();
    return result;
}

static CUresult count_functions(const void *handle, enum soft_kind kind, unsigned int *count)
{
    struct soft_call call;
    struct soft_module *module;
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_module(&call, handle, kind, &module);
    if (result != CUDA_SUCCESS)
        return result;
    *count = module->code->kernel_count;
    soft_unlock();
    return CUDA_SUCCESS;
}

static CUresult list_functions(const void *handle, enum soft_kind kind, void **functions,
                               unsigned int count)
{
    struct soft_call call;
    struct soft_module *module;
    if (!functions)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_module(&call, handle, kind, &module);
    if (result != CUDA_SUCCESS)
        return result;
    for (uint32_t i = 0; i < count && i < module->code->kernel_count; i++)
        functions[i] = (void *)(uintptr_t)module->functions[i].object.handle;
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
    return get_function(module, SOFT_MODULE, name, (uint64_t *)function);
}

SOFT_API CUresult cuModuleGetFunctionCount(unsigned int *count, CUmodule module)
{
    return count_functions(module, SOFT_MODULE, count);
}

SOFT_API CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int count,
                                             CUmodule module)
{
    return list_functions(module, SOFT_MODULE, (void **)functions, count);
}

SOFT_API CUresult cuModuleGetGlobal_v2(CUdeviceptr *address, size_t *bytes, CUmodule module,
                                       const char *name)
{
    return get_global(module, SOFT_MODULE, name, address, bytes);
}

/* ---- libraries ------------------------------------------------------------------------------ */

SOFT_API CUresult cuLibraryLoadData(CUlibrary *out, const void *image, CUjit_option *options,
                                    void **values, unsigned int count,
                                    CUlibraryOption *library_options, void **library_values,
                                    unsigned int library_count)
{
    struct soft_call call;
    struct soft_module *module;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    struct soft_library *library = calloc(1, sizeof *library);
    if (!library)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = load(image, count, options, values, &call, &module);
    if (result != CUDA_SUCCESS) {
        free(library);
        return result;
    }
    soft_lock();
    library->module = module;
    module->library = library;
    if (soft_handle_add(&library->object, SOFT_LIBRARY, call.tenant->id)) {
        *out = (CUlibrary)library->object.handle;
    } else {
        soft_module_unload(call.tenant, module);
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    soft_unlock();
    soft_module_release();
    return result;
}

SOFT_API CUresult cuLibraryLoadFromFile(CUlibrary *out, const char *name, CUjit_option *options,
                                        void **values, unsigned int count,
                                        CUlibraryOption *library_options, void **library_values,
                                        unsigned int library_count)
{
    char *bytes;
    CUresult result = read_file(name, &bytes);
    if (result != CUDA_SUCCESS)
        return result;
    result = cuLibraryLoadData(out, bytes, options, values, count, library_options, library_values,
                               library_count);
    free(bytes);
    return result;
}

SOFT_API CUresult cuLibraryUnload(CUlibrary library) { return unload(library, SOFT_LIBRARY); }

SOFT_API CUresult cuLibraryGetModule(CUmodule *out, CUlibrary library)
{
    struct soft_call call;
    struct soft_module *module;
    if (!out)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = enter_module(&call, library, SOFT_LIBRARY, &module);
    if (result != CUDA_SUCCESS)
        return result;
    *out = (CUmodule)module->object.handle;
    soft_unlock();
    return CUDA_SUCCESS;
}

SOFT_API CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name)
{
    return get_function(library, SOFT_LIBRARY, name, (uint64_t *)kernel);
}

SOFT_API CUresult cuLibraryGetKernelCount(unsigned int *count, CUlibrary library)
{
    return count_functions(library, SOFT_LIBRARY, count);
}

SOFT_API CUresult cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int count,
                                            CUlibrary library)
{
    return list_functions(library, SOFT_LIBRARY, (void **)kernels, count);
}

SOFT_API CUresult cuLibraryGetGlobal(CUdeviceptr *address, size_t *bytes, CUlibrary library,
                                     const char *name)
{
    return get_global(library, SOFT_LIBRARY, name, address, bytes);
}
