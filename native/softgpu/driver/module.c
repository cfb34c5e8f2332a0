/* Loading: image to code (once, by the compiler), code to a module instance with variables of its
 * own. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "queue.h"

#define LOG_BYTES (64u << 10)

static void give_log(const struct soft_log *log, const char *text)
{
    if (!log || !log->error || !log->error_bytes)
        return;
    size_t bytes = strnlen(text, log->error_bytes - 1);
    memcpy(log->error, text, bytes);
    log->error[bytes] = 0;
}

static CUresult compile(const struct soft_image *image, const struct soft_log *log,
                        const struct soft_code **code)
{
    soft_lock();
    softgpu_compile_fn call = soft.compile;
    void *user = soft.compile_user;
    soft_unlock();
    if (!call) {
        give_log(log, "softgpu: no PTX compiler is set");
        return CUDA_ERROR_JIT_COMPILER_NOT_FOUND;
    }
    char *text = calloc(1, LOG_BYTES);
    if (!text)
        return CUDA_ERROR_OUT_OF_MEMORY;
    *code = NULL;
    CUresult result = call(user, image->ptx, image->ptx_bytes, code, text, LOG_BYTES);
    text[LOG_BYTES - 1] = 0;
    give_log(log, text);
    free(text);
    if (result == CUDA_SUCCESS && !*code)
        return CUDA_ERROR_INVALID_PTX;
    return result;
}

/* An image was opened as the one or the other. */
static CUresult to_code(const struct soft_image *image, const struct soft_log *log,
                        const struct soft_code **code, bool *own)
{
    *own = image->elf != NULL;
    if (!*own)
        return compile(image, log, code);
    *code = soft_dry_code(image->elf, image->elf_bytes);
    return *code ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
}

static CUresult make_globals(struct soft_call *call, const struct soft_code *code,
                             uint64_t *address)
{
    *address = 0;
    if (!code->globals_bytes)
        return CUDA_SUCCESS;
    CUresult result = soft_memory_alloc(call->tenant, call->device, code->globals_bytes,
                                        SOFT_MEMORY_DEVICE, 0, address);
    if (result != CUDA_SUCCESS)
        return result;
    uint8_t *globals = (uint8_t *)(uintptr_t)*address;
    if (code->image_bytes && code->image_bytes <= code->globals_bytes)
        memcpy(globals, code->globals_image, code->image_bytes);
    for (uint64_t i = 0; i < code->relocation_count; i++) {
        uint64_t offset = code->relocations[i].offset, value;
        if (offset > code->globals_bytes || code->globals_bytes - offset < sizeof value)
            continue;
        memcpy(&value, globals + offset, sizeof value);
        value += *address;
        memcpy(globals + offset, &value, sizeof value);
    }
    return CUDA_SUCCESS;
}

static CUresult name_objects(struct soft_module *module)
{
    uint32_t tenant = module->tenant->id;
    if (!soft_handle_add(&module->object, SOFT_MODULE, tenant))
        return CUDA_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < module->code->kernel_count; i++) {
        struct soft_function *function = &module->functions[i];
        function->module = module;
        function->kernel = &module->code->kernels[i];
        uint32_t fixed = function->kernel->static_shared_bytes;
        function->dynamic_shared_max =
            fixed < SOFT_SHARED_DEFAULT ? SOFT_SHARED_DEFAULT - fixed : 0;
        function->carveout = -1;
        if (!soft_handle_add(&function->object, SOFT_FUNCTION, tenant))
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    return CUDA_SUCCESS;
}

static void release(const struct soft_code *code)
{
    soft_lock();
    softgpu_release_fn call = soft.release;
    void *user = soft.release_user;
    soft_unlock();
    if (call)
        call(user, code);
}

/* Compiling takes long: the tenant may have ended, and its number may be another's by now. */
static bool gone(const struct soft_call *call)
{
    return !__atomic_load_n(&call->tenant->live, __ATOMIC_ACQUIRE) ||
           call->tenant->generation != call->generation;
}

static CUresult instantiate(struct soft_call *call, const struct soft_code *code, bool own_code,
                            struct soft_module **out)
{
    struct soft_module *module = calloc(1, sizeof *module);
    if (!module) {
        if (own_code)
            soft_dry_free((struct soft_code *)code);
        else
            release(code);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    module->tenant = call->tenant;
    module->code = code;
    module->own_code = own_code;
    module->functions =
        calloc(code->kernel_count ? code->kernel_count : 1, sizeof *module->functions);
    CUresult result =
        module->functions ? make_globals(call, code, &module->globals) : CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t globals = module->globals;
    soft_lock();
    if (result == CUDA_SUCCESS && gone(call))
        result = CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (result == CUDA_SUCCESS)
        result = name_objects(module);
    if (result != CUDA_SUCCESS)
        soft_module_free(module);
    soft_unlock();
    soft_module_release();
    if (result != CUDA_SUCCESS && globals)
        soft_memory_free(call->tenant, globals, SOFT_MEMORY_DEVICE);
    *out = module;
    return result;
}

CUresult soft_module_load(struct soft_call *call, const void *data, const struct soft_log *log,
                          struct soft_module **module)
{
    struct soft_image image;
    const struct soft_code *code;
    bool own_code;
    const char *why;
    CUresult result = soft_image_open(data, &image, &why);
    if (result != CUDA_SUCCESS) {
        if (why)
            give_log(log, why);
        return result;
    }
    result = to_code(&image, log, &code, &own_code);
    soft_image_close(&image);
    return result == CUDA_SUCCESS ? instantiate(call, code, own_code, module) : result;
}

static void unname_objects(struct soft_module *module)
{
    for (uint32_t i = 0; module->functions && i < module->code->kernel_count; i++)
        soft_handle_remove(&module->functions[i].object);
    soft_handle_remove(&module->object);
    if (module->library)
        soft_handle_remove(&module->library->object);
}

void soft_module_free(struct soft_module *module)
{
    unname_objects(module);
    free(module->library);
    module->library = NULL;
    free(module->functions);
    module->functions = NULL;
    module->unloaded = true;
    if (!module->pins) {
        module->next = soft.unloaded;
        soft.unloaded = module;
    }
}

void soft_module_pin(struct soft_module *module) { module->pins++; }

void soft_module_unpin(struct soft_module *module)
{
    if (--module->pins || !module->unloaded)
        return;
    module->next = soft.unloaded;
    soft.unloaded = module;
}

void soft_module_release(void)
{
    soft_lock();
    struct soft_module *module = soft.unloaded;
    soft.unloaded = NULL;
    soft_unlock();
    while (module) {
        struct soft_module *next = module->next;
        if (module->own_code)
            soft_dry_free((struct soft_code *)module->code);
        else
            release(module->code);
        free(module);
        module = next;
    }
}

void soft_module_unload(struct soft_tenant *tenant, struct soft_module *module)
{
    uint64_t globals = module->globals;
    unname_objects(module); /* nobody else finds it from here on */
    if (tenant->id == 0) {  /* made tenants: their maker sees to it, as for cuMemFree */
        soft_unlock();
        soft_tenant_wait(tenant, NULL);
        soft_lock();
    }
    soft_module_free(module);
    soft_unlock();
    if (globals)
        soft_memory_free(tenant, globals, SOFT_MEMORY_DEVICE);
    soft_lock();
}
