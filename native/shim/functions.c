#include "functions.h"

#include <stdlib.h>
#include <string.h>

#include "handles.h"
#include "module_send.h"
#include "modules.h"
#include "names.h"

struct shim_function *shim_function_get(uint64_t handle)
{
    return shim_handle_get(TALLY_KIND_FUNCTION, handle);
}

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
        .devices = shim_device_bit(module->channel),
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

CUresult shim_module_function(struct shim_module *module, const char *name,
                              struct shim_function **out)
{
    if (!shim_name_is_sound(name))
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
    if (atomic_load_explicit(&function->devices, memory_order_acquire) & shim_device_bit(channel))
        return CUDA_SUCCESS;
    struct shim_module *module = function->module;
    tally_mutex_take(&module->lock);
    CUresult result = shim_module_on_locked(module, channel);
    if (!result && !(atomic_load(&function->devices) & shim_device_bit(channel))) {
        struct tally_reply_get_function reply;
        void *params;
        size_t params_bytes;
        result = ask_function(module, channel, function->handle, function->name, &reply, &params,
                              &params_bytes);
        free(params);
        if (!result)
            atomic_fetch_or(&function->devices, shim_device_bit(channel));
    }
    tally_mutex_give(&module->lock);
    return result;
}

static void function_free(struct shim_function *function)
{
    free(function->params);
    free(function->name);
    free(function);
}

void shim_functions_release(struct shim_module *module) LOCKS_UNCHECKED
{
    for (uint32_t i = 0; i < SHIM_MODULE_BUCKETS; i++)
        for (struct shim_function *function = module->buckets[i], *next; function;
             function = next) {
            next = function->next;
            shim_handle_remove(TALLY_KIND_FUNCTION, function->handle);
            shim_handle_release(TALLY_KIND_FUNCTION, function->handle);
            function_free(function);
        }
}
