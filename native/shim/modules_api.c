/* cuModule* and cuLibrary*. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "functions.h"
#include "generated/custom.h"
#include "jit_options.h"
#include "modules.h"
#include "names.h"

/* ---- loading -------------------------------------------------------------------------------- */

static CUresult load_found(const void *pointer, bool library, bool lasting, struct shim_jit *jit,
                           struct shim_module **out)
{
    struct shim_image image;
    CUresult result = shim_image_find(pointer, &image);
    if (result)
        return result;
    image.lasting = lasting && !image.owned;
    struct shim_image_file file;
    bool in_file = !image.owned && shim_image_in_file(&image, &file);
    result = shim_module_load(&image, in_file ? &file : NULL, library, &jit->log, out);
    shim_image_drop(&image);
    return result;
}

static CUresult load_memory(const void *pointer, bool library, bool lasting, struct shim_jit *jit,
                            struct shim_module **out)
{
    CUresult result = shim_ready();
    if (result)
        return result;
    if (!pointer)
        return CUDA_ERROR_INVALID_VALUE;
    result = shim_jit_read(jit);
    if (result)
        return result;
    result = load_found(pointer, library, lasting, jit, out);
    shim_jit_write(jit);
    return result;
}

/* A whole file that is an image. Mapped only so that it can be sent where its name does not help.
 */
static CUresult load_open_file(int fd, struct shim_image_file *file, bool library,
                               struct shim_module_log *log, struct shim_module **out)
{
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0)
        return CUDA_ERROR_INVALID_IMAGE;
    size_t bytes = (size_t)status.st_size;
    void *data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct shim_image image = {.data = data, .bytes = bytes};
    file->offset = 0;
    CUresult result = shim_module_load(&image, file, library, log, out);
    munmap(data, bytes);
    return result;
}

static CUresult load_file(const char *name, bool library, struct shim_jit *jit,
                          struct shim_module **out)
{
    CUresult result = shim_ready();
    if (result)
        return result;
    if (!name)
        return CUDA_ERROR_INVALID_VALUE;
    result = shim_jit_read(jit);
    if (result)
        return result;
    struct shim_image_file file;
    _Static_assert(sizeof file.path >= PATH_MAX, "realpath writes up to PATH_MAX");
    int fd = realpath(name, file.path)
                 ? open(file.path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
                 : -1;
    result =
        fd < 0 ? CUDA_ERROR_FILE_NOT_FOUND : load_open_file(fd, &file, library, &jit->log, out);
    if (fd >= 0)
        close(fd);
    shim_jit_write(jit);
    return result;
}

CUresult shim_cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions,
                                 CUjit_option *options, void **optionValues)
{
    struct shim_module *loaded;
    if (!module)
        return CUDA_ERROR_INVALID_VALUE;
    struct shim_jit jit = {.count = numOptions, .options = options, .values = optionValues};
    CUresult result = load_memory(image, false, false, &jit, &loaded);
    if (!result)
        *module = (CUmodule)(uintptr_t)loaded->handle;
    return result;
}

CUresult shim_cuModuleLoadData(CUmodule *module, const void *image)
{
    return shim_cuModuleLoadDataEx(module, image, 0, NULL, NULL);
}

CUresult shim_cuModuleLoadFatBinary(CUmodule *module, const void *fatCubin)
{
    return shim_cuModuleLoadDataEx(module, fatCubin, 0, NULL, NULL);
}

CUresult shim_cuModuleLoad(CUmodule *module, const char *fname)
{
    struct shim_module *loaded;
    if (!module)
        return CUDA_ERROR_INVALID_VALUE;
    struct shim_jit jit = {0};
    CUresult result = load_file(fname, false, &jit, &loaded);
    if (!result)
        *module = (CUmodule)(uintptr_t)loaded->handle;
    return result;
}

/* Of the options, one matters: what need not be copied. */
static bool image_lasts(const CUlibraryOption *options, void *const *values, unsigned int count)
{
    for (unsigned i = 0; i < count; i++)
        if (options[i] == CU_LIBRARY_BINARY_IS_PRESERVED)
            return values && values[i];
    return false;
}

CUresult shim_cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *jitOptions,
                                void **jitOptionsValues, unsigned int numJitOptions,
                                CUlibraryOption *libraryOptions, void **libraryOptionValues,
                                unsigned int numLibraryOptions)
{
    struct shim_module *loaded;
    if (!library || (numLibraryOptions && !libraryOptions))
        return CUDA_ERROR_INVALID_VALUE;
    bool lasting = image_lasts(libraryOptions, libraryOptionValues, numLibraryOptions);
    struct shim_jit jit = {
        .count = numJitOptions, .options = jitOptions, .values = jitOptionsValues};
    CUresult result = load_memory(code, true, lasting, &jit, &loaded);
    if (!result)
        *library = (CUlibrary)(uintptr_t)loaded->handle;
    return result;
}

CUresult shim_cuLibraryLoadFromFile(CUlibrary *library, const char *fileName,
                                    CUjit_option *jitOptions, void **jitOptionsValues,
                                    unsigned int numJitOptions, CUlibraryOption *libraryOptions,
                                    void **libraryOptionValues, unsigned int numLibraryOptions)
{
    struct shim_module *loaded;
    if (!library || (numLibraryOptions && !libraryOptions))
        return CUDA_ERROR_INVALID_VALUE;
    struct shim_jit jit = {
        .count = numJitOptions, .options = jitOptions, .values = jitOptionsValues};
    CUresult result = load_file(fileName, true, &jit, &loaded);
    if (!result)
        *library = (CUlibrary)(uintptr_t)loaded->handle;
    return result;
}

/* ---- one handle, two names ------------------------------------------------------------------ */

enum wanted { ANY, MODULE, LIBRARY };

static CUresult find(const void *handle, enum wanted wanted, struct shim_module **out)
{
    CUresult result = shim_ready();
    if (result)
        return result;
    struct shim_module *module = shim_module_get((uintptr_t)handle);
    if (!module || (wanted != ANY && module->library != (wanted == LIBRARY)))
        return CUDA_ERROR_INVALID_HANDLE;
    *out = module;
    return CUDA_SUCCESS;
}

CUresult shim_cuModuleUnload(CUmodule hmod)
{
    struct shim_module *module;
    CUresult result = find(hmod, MODULE, &module);
    return result ? result : shim_module_unload(module);
}

CUresult shim_cuLibraryUnload(CUlibrary library)
{
    struct shim_module *module;
    CUresult result = find(library, LIBRARY, &module);
    return result ? result : shim_module_unload(module);
}

CUresult shim_cuLibraryGetModule(CUmodule *pMod, CUlibrary library)
{
    struct shim_module *module;
    CUresult result = pMod ? find(library, LIBRARY, &module) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *pMod = (CUmodule)(uintptr_t)module->handle;
    return result;
}

static CUresult get_function(const void *handle, enum wanted wanted, const char *name,
                             struct shim_function **out)
{
    struct shim_module *module;
    CUresult result = name ? find(handle, wanted, &module) : CUDA_ERROR_INVALID_VALUE;
    return result ? result : shim_module_function(module, name, out);
}

CUresult shim_cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name)
{
    struct shim_function *function;
    CUresult result = hfunc ? get_function(hmod, ANY, name, &function) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *hfunc = (CUfunction)(uintptr_t)function->handle;
    return result;
}

CUresult shim_cuLibraryGetKernel(CUkernel *pKernel, CUlibrary library, const char *name)
{
    struct shim_function *function;
    CUresult result =
        pKernel ? get_function(library, LIBRARY, name, &function) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        *pKernel = (CUkernel)(uintptr_t)function->handle;
    return result;
}

static CUresult get_global(CUdeviceptr *dptr, size_t *bytes, const void *handle, enum wanted wanted,
                           const char *name)
{
    struct shim_module *module;
    uint64_t address, size;
    if (!name || (!dptr && !bytes))
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = find(handle, wanted, &module);
    if (!result)
        result = shim_module_global(module, name, &address, &size);
    if (result)
        return result;
    if (dptr)
        *dptr = address;
    if (bytes)
        *bytes = size;
    return result;
}

CUresult shim_cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule hmod,
                                   const char *name)
{
    return get_global(dptr, bytes, hmod, ANY, name);
}

CUresult shim_cuLibraryGetGlobal(CUdeviceptr *dptr, size_t *bytes, CUlibrary library,
                                 const char *name)
{
    return get_global(dptr, bytes, library, LIBRARY, name);
}

/* ---- enumeration ---------------------------------------------------------------------------- */

static CUresult count_functions(const void *handle, enum wanted wanted, unsigned int *count)
{
    struct shim_module *module;
    struct shim_names names = {0};
    CUresult result = count ? find(handle, wanted, &module) : CUDA_ERROR_INVALID_VALUE;
    if (!result)
        result = shim_module_names(module, 1, &names);
    if (!result)
        *count = names.total;
    free(names.text);
    return result;
}

/* At most `room` handles, in the executor's order. */
static CUresult enumerate(const void *handle, enum wanted wanted, uint64_t *out, unsigned int room)
{
    struct shim_module *module;
    struct shim_names names = {0};
    if (!out || !room)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = find(handle, wanted, &module);
    if (!result)
        result = shim_module_names(module, room, &names);
    const char *at = names.text;
    size_t bytes = names.bytes;
    for (uint32_t i = 0; i < names.count && i < room && !result; i++) {
        const char *end = bytes ? memchr(at, 0, bytes) : NULL;
        struct shim_function *function;
        result = end ? shim_module_function(module, at, &function) : CUDA_ERROR_UNKNOWN;
        if (!result) {
            out[i] = function->handle;
            bytes -= (size_t)(end + 1 - at);
            at = end + 1;
        }
    }
    free(names.text);
    return result;
}

CUresult shim_cuModuleGetFunctionCount(unsigned int *count, CUmodule mod)
{
    return count_functions(mod, ANY, count);
}

CUresult shim_cuLibraryGetKernelCount(unsigned int *count, CUlibrary lib)
{
    return count_functions(lib, LIBRARY, count);
}

_Static_assert(sizeof(CUfunction) == sizeof(uint64_t) && sizeof(CUkernel) == sizeof(uint64_t),
               "handles are 64 bits");

CUresult shim_cuModuleEnumerateFunctions(CUfunction *functions, unsigned int numFunctions,
                                         CUmodule mod)
{
    return enumerate(mod, ANY, (uint64_t *)functions, numFunctions);
}

CUresult shim_cuLibraryEnumerateKernels(CUkernel *kernels, unsigned int numKernels, CUlibrary lib)
{
    return enumerate(lib, LIBRARY, (uint64_t *)kernels, numKernels);
}
