#include "modules.h"

#include <stdlib.h>
#include <string.h>

#include "handles.h"
#include "memory.h"
#include "module_send.h"
#include "ranges.h"
#include "tell.h"

struct shim_module *shim_module_get(uint64_t handle)
{
    return shim_handle_get(TALLY_KIND_MODULE, handle);
}

struct shim_function *shim_function_get(uint64_t handle)
{
    return shim_handle_get(TALLY_KIND_FUNCTION, handle);
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

static uint32_t device_bit(const struct shim_channel *channel)
{
    _Static_assert(TALLY_DEVICES_MAX <= 32, "one bit each");
    return 1u << shim_channel_device(channel);
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
    module->devices = device_bit(channel);
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

static void function_free(struct shim_function *function)
{
    free(function->params);
    free(function->name);
    free(function);
}

/* What hangs on a module that is gone, and that nobody else has any more. */
static void release(struct shim_module *module) LOCKS_UNCHECKED
{
    for (uint32_t i = 0; i < SHIM_MODULE_BUCKETS; i++)
        for (struct shim_function *function = module->buckets[i], *next; function;
             function = next) {
            next = function->next;
            shim_handle_remove(TALLY_KIND_FUNCTION, function->handle);
            shim_handle_release(TALLY_KIND_FUNCTION, function->handle);
            function_free(function);
        }
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

/* Sends a library to a device that does not have it. */
static CUresult module_on_locked(struct shim_module *module, struct shim_channel *channel)
    REQUIRES(module->lock)
{
    if (module->devices & device_bit(channel))
        return CUDA_SUCCESS;
    if (!module->library)
        return CUDA_ERROR_INVALID_HANDLE;
    struct shim_module_log log = {0};
    CUresult result = shim_module_send(channel, module->handle, &module->image, NULL, &log);
    if (!result)
        module->devices |= device_bit(channel);
    return result;
}

/* ---- functions ------------------------------------------------------------------------------ */

static uint32_t bucket_of(const char *name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash % SHIM_MODULE_BUCKETS;
}

/* Sane: what a launch relies on without looking again. */
static bool layout_is_sound(const struct tally_reply_get_function *reply,
                            const struct tally_param *params)
{
    if (reply->param_bytes > TALLY_PARAM_BYTES_MAX)
        return false;
    for (uint32_t i = 0; i < reply->param_count; i++)
        if (params[i].bytes > reply->param_bytes ||
            params[i].offset > reply->param_bytes - params[i].bytes)
            return false;
    return true;
}

/* Whether some of the bytes that a launch sends belong to no parameter. */
static bool layout_is_padded(const struct tally_reply_get_function *reply,
                             const struct tally_param *params)
{
    uint32_t end = 0;
    for (uint32_t i = 0; i < reply->param_count && params[i].offset == end; i++)
        end += params[i].bytes;
    return end != reply->param_bytes;
}

/* Takes `params` (malloc'ed) over, also on failure. */
static CUresult function_new(struct shim_module *module, uint64_t handle, const char *name,
                             const struct tally_reply_get_function *reply, void *params,
                             size_t params_bytes, struct shim_function **out)
{
    struct shim_function *function = calloc(1, sizeof *function);
    char *copy = strdup(name);
    bool fits = reply->param_count <= TALLY_PARAMS_MAX &&
                params_bytes == reply->param_count * sizeof(struct tally_param) &&
                layout_is_sound(reply, params);
    if (!function || !copy || !fits) {
        free(params);
        free(copy);
        free(function);
        return fits ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_ERROR_INVALID_IMAGE;
    }
    *function = (struct shim_function){
        .handle = handle,
        .channel = module->channel,
        .devices = device_bit(module->channel),
        .module = module,
        .param_count = reply->param_count,
        .param_bytes = reply->param_bytes,
        .params = params,
        .padded = layout_is_padded(reply, params),
        .name = copy,
    };
    memcpy(function->attributes, reply->attributes, sizeof function->attributes);
    *out = function;
    return CUDA_SUCCESS;
}

/* `reply` and what follows it in *params (malloc'ed). */
static CUresult ask_function(const struct shim_module *module, struct shim_channel *channel,
                             uint64_t handle, const char *name,
                             struct tally_reply_get_function *reply, void **params,
                             size_t *params_bytes)
{
    struct tally_op_get_function op = {
        .op.code = TALLY_OP_GET_FUNCTION,
        .module = module->handle,
        .function = handle,
        .name_bytes = (uint32_t)strlen(name),
    };
    struct shim_call call = {.reply = reply, .reply_bytes = sizeof *reply, .keep_tail = true};
    CUresult result = shim_call_begin(channel, &call, &op, sizeof op, name, op.name_bytes);
    if (!result)
        result = shim_call_end(channel, &call);
    *params = call.tail;
    *params_bytes = call.tail_bytes;
    return result;
}

/* Asks the executor. The handle is minted without a record at first: nobody can use it before it is
 * whole. */
static CUresult fetch_function_locked(struct shim_module *module, const char *name,
                                      struct shim_function **out) REQUIRES(module->lock)
{
    uint64_t handle = shim_handle_add(TALLY_KIND_FUNCTION, NULL);
    if (!handle)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct tally_reply_get_function reply;
    void *params;
    size_t params_bytes;
    CUresult result =
        ask_function(module, module->channel, handle, name, &reply, &params, &params_bytes);
    if (result)
        free(params);
    else
        result = function_new(module, handle, name, &reply, params, params_bytes, out);
    if (result)
        shim_handle_release(TALLY_KIND_FUNCTION, handle);
    else
        shim_handle_put(TALLY_KIND_FUNCTION, handle, *out);
    return result;
}

static bool name_is_sound(const char *name)
{
    size_t bytes = strnlen(name, TALLY_NAME_BYTES_MAX + 1);
    if (bytes > TALLY_NAME_BYTES_MAX)
        shim_tell("a kernel or a variable cannot be found: its name has more than %u characters",
                  TALLY_NAME_BYTES_MAX);
    return bytes > 0 && bytes <= TALLY_NAME_BYTES_MAX;
}

CUresult shim_module_function(struct shim_module *module, const char *name,
                              struct shim_function **out)
{
    if (!name_is_sound(name))
        return CUDA_ERROR_NOT_FOUND;
    uint32_t bucket = bucket_of(name);
    tally_mutex_take(&module->lock);
    struct shim_function *function = module->buckets[bucket];
    while (function && strcmp(function->name, name) != 0)
        function = function->next;
    CUresult result = CUDA_SUCCESS;
    if (!function) {
        result = fetch_function_locked(module, name, &function);
        if (!result) {
            function->next = module->buckets[bucket];
            module->buckets[bucket] = function;
        }
    }
    tally_mutex_give(&module->lock);
    if (!result)
        *out = function;
    return result;
}

SHIM_RARE CUresult shim_function_on(struct shim_function *function, struct shim_channel *channel)
{
    if (atomic_load_explicit(&function->devices, memory_order_acquire) & device_bit(channel))
        return CUDA_SUCCESS;
    struct shim_module *module = function->module;
    tally_mutex_take(&module->lock);
    CUresult result = module_on_locked(module, channel);
    if (!result && !(atomic_load(&function->devices) & device_bit(channel))) {
        struct tally_reply_get_function reply;
        void *params;
        size_t params_bytes;
        result = ask_function(module, channel, function->handle, function->name, &reply, &params,
                              &params_bytes);
        free(params);
        if (!result)
            atomic_fetch_or(&function->devices, device_bit(channel));
    }
    tally_mutex_give(&module->lock);
    return result;
}

/* ---- globals and names ---------------------------------------------------------------------- */

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
    if (!name_is_sound(name))
        return CUDA_ERROR_NOT_FOUND;
    struct shim_channel *channel = module->channel, *current;
    CUresult result = CUDA_SUCCESS;
    if (module->library && shim_current(NULL, &current) == CUDA_SUCCESS && current != channel) {
        channel = current;
        tally_mutex_take(&module->lock);
        result = module_on_locked(module, channel);
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

/* One reply's names behind those of earlier ones. */
static CUresult append_names(struct shim_module *module, struct shim_names *names)
{
    struct tally_op_list_functions op = {
        .op.code = TALLY_OP_LIST_FUNCTIONS, .module = module->handle, .first = names->count};
    struct tally_reply_list_functions reply;
    struct shim_call call = {.reply = &reply, .reply_bytes = sizeof reply, .keep_tail = true};
    CUresult result = shim_call_begin(module->channel, &call, &op, sizeof op, NULL, 0);
    if (!result)
        result = shim_call_end(module->channel, &call);
    if (result) {
        free(call.tail);
        return result;
    }
    char *text = realloc(names->text, names->bytes + call.tail_bytes + 1);
    if (!text) {
        free(call.tail);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memcpy(text + names->bytes, call.tail ? call.tail : "", call.tail_bytes);
    names->text = text;
    names->bytes += call.tail_bytes;
    names->count += reply.count;
    names->total = reply.total;
    free(call.tail);
    return reply.count || names->count >= names->total ? CUDA_SUCCESS : CUDA_ERROR_UNKNOWN;
}

CUresult shim_module_names(struct shim_module *module, uint32_t wanted, struct shim_names *names)
{
    *names = (struct shim_names){0};
    CUresult result;
    do {
        result = append_names(module, names);
    } while (!result && names->count < names->total && names->count < wanted);
    if (result) {
        free(names->text);
        *names = (struct shim_names){0};
    }
    return result;
}
