#include "modules.h"

#include <stdlib.h>
#include <string.h>

#include "functions.h"
#include "handles.h"
#include "memory.h"
#include "module_send.h"
#include "names.h"
#include "ranges.h"

struct shim_module *shim_module_get(uint64_t handle)
{
    return shim_handle_get(TALLY_KIND_MODULE, handle);
}

/* ---- loading and unloading ------------------------------------------------------------------ */

/* A library needs no context: CUDA loads it into each context when it is needed. Its errors are
 * told now all the same. */
static CUresult find_channel(bool library, struct shim_context **context,
                             struct shim_channel **channel)
{
    CUresult result = shim_current(context, channel);
    if (result == CUDA_ERROR_INVALID_CONTEXT && library)
        result = shim_channel_open(0, channel);
    if (library)
        *context = NULL;
    return result;
}

/* Keeps the image for other devices. The program may overwrite it once it is loaded, unless it
 * promised not to. */
static bool keep_image(struct shim_module *module, const struct shim_image *image)
{
    module->image = *image;
    module->image.owned = false; /* the copy is freed with the module */
    if (image->lasting)
        return true;
    uint8_t *copy = malloc(image->bytes);
    if (copy)
        module->image.data = memcpy(copy, image->data, image->bytes);
    return copy != NULL;
}

/* Nobody else has the module any more. */
static void module_free(struct shim_module *module) LOCKS_UNCHECKED
{
    if (!module->image.lasting)
        free((void *)module->image.data);
    free(module->globals);
    free(module);
}

CUresult shim_module_load(const struct shim_image *image, const struct shim_image_file *file,
                          bool library, struct shim_module_log *log, struct shim_module **out)
{
    struct shim_context *context;
    struct shim_channel *channel;
    CUresult result = find_channel(library, &context, &channel);
    if (result)
        return result;
    struct shim_module *module = calloc(1, sizeof *module);
    if (!module)
        return CUDA_ERROR_OUT_OF_MEMORY;
    module->channel = channel;
    module->context = context;
    module->library = library;
    tally_mutex_init(&module->lock);
    module->devices = shim_device_bit(channel);
    if (library && shim_device_count() > 1 && !keep_image(module, image)) {
        free(module);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    module->handle = shim_handle_add(TALLY_KIND_MODULE, module);
    result = module->handle ? shim_module_send(channel, module->handle, image, file, log)
                            : CUDA_ERROR_OUT_OF_MEMORY;
    if (!result) {
        *out = module;
        return CUDA_SUCCESS;
    }
    if (shim_handle_remove(TALLY_KIND_MODULE, module->handle))
        shim_handle_release(TALLY_KIND_MODULE, module->handle);
    module_free(module);
    return result;
}

/* What hangs on a module that is gone, and that nobody else has any more. */
static void release(struct shim_module *module) LOCKS_UNCHECKED
{
    shim_functions_release(module);
    for (uint32_t i = 0; i < module->global_count; i++) {
        struct shim_range range;
        shim_range_remove(module->globals[i], SHIM_RANGE_GLOBAL, &range);
    }
    module_free(module);
}

/* Unchecked: a module that has been taken out of the table is this thread's alone. */
CUresult shim_module_unload(struct shim_module *module) LOCKS_UNCHECKED
{
    uint64_t handle = module->handle;
    if (!shim_handle_remove(TALLY_KIND_MODULE, handle)) /* another thread was faster */
        return CUDA_ERROR_INVALID_HANDLE;
    CUresult result = CUDA_SUCCESS;
    for (int device = 0; device < (int)TALLY_DEVICES_MAX; device++) {
        struct shim_channel *channel;
        if (!(module->devices >> device & 1) || shim_channel_open(device, &channel) != CUDA_SUCCESS)
            continue;
        struct tally_op_module_unload op = {.op.code = TALLY_OP_MODULE_UNLOAD, .module = handle};
        CUresult sent = shim_send(channel, &op, sizeof op, NULL, 0);
        result = result ? result : sent;
    }
    release(module);
    shim_handle_release(TALLY_KIND_MODULE, handle);
    return result;
}

static void close_one(void *context, uint64_t handle, void *record)
{
    struct shim_module *module = record;
    if (module->context == context)
        shim_module_unload(module);
}

static void close_context(struct shim_context *context)
{
    shim_handle_each(TALLY_KIND_MODULE, close_one, context);
}

__attribute__((constructor)) static void register_hook(void)
{
    shim_context_on_close(close_context);
}

/* ---- globals -------------------------------------------------------------------------------- */

/* Adds the variable to the table of ranges, so that copies to and from it pass.
 * CUDA_ERROR_NOT_SUPPORTED where the address also means memory of another device: a copy could
 * not tell which is meant. */
static CUresult remember_global_locked(struct shim_module *module, struct shim_channel *channel,
                                       uint64_t address, uint64_t bytes) REQUIRES(module->lock)
{
    if (module->global_count == module->global_capacity) {
        uint32_t capacity = module->global_capacity ? 2 * module->global_capacity : 16;
        uint64_t *grown = realloc(module->globals, capacity * sizeof *grown);
        if (!grown)
            return CUDA_ERROR_OUT_OF_MEMORY;
        module->globals = grown;
        module->global_capacity = capacity;
    }
    struct shim_range range = {
        .base = address,
        .bytes = bytes,
        .kind = SHIM_RANGE_GLOBAL,
        .channel = channel,
        .context = module->context,
    };
    CUresult result = shim_range_add(range);
    if (result == CUDA_SUCCESS)
        module->globals[module->global_count++] = address;
    if (result != CUDA_ERROR_ALREADY_MAPPED)
        return result;
    if (shim_memory_holds(channel, address, bytes)) /* it was asked for before */
        return CUDA_SUCCESS;
    static uint64_t calls;
    return shim_unsupported("cuModuleGetGlobal(at an address of another device)", &calls);
}

CUresult shim_module_global(struct shim_module *module, const char *name, uint64_t *address,
                            uint64_t *bytes)
{
    if (!shim_name_is_sound(name))
        return CUDA_ERROR_NOT_FOUND;
    struct shim_channel *channel = module->channel, *current;
    CUresult result = CUDA_SUCCESS;
    if (module->library && shim_current(NULL, &current) == CUDA_SUCCESS && current != channel) {
        channel = current;
        tally_mutex_take(&module->lock);
        result = shim_module_on_locked(module, channel);
        tally_mutex_give(&module->lock);
        if (result)
            return result;
    }
    struct tally_op_get_global op = {.op.code = TALLY_OP_GET_GLOBAL,
                                     .module = module->handle,
                                     .name_bytes = (uint32_t)strlen(name)};
    struct tally_reply_get_global reply;
    result = shim_call(channel, &op, sizeof op, name, op.name_bytes, &reply, sizeof reply);
    if (result)
        return result;
    if (reply.address && reply.bytes) {
        tally_mutex_take(&module->lock);
        result = remember_global_locked(module, channel, reply.address, reply.bytes);
        tally_mutex_give(&module->lock);
    }
    if (result)
        return result;
    *address = reply.address;
    *bytes = reply.bytes;
    return CUDA_SUCCESS;
}
