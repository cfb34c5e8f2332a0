#include "engine/code/function.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/code/module.h"
#include "engine/code/rewriter.h"
#include "engine/launch/meeting.h"
#include "engine/ops/message.h"
#include "engine/session/fault.h"
#include "engine/session/reply.h"
#include "engine/session/session.h"
#include "engine/session/table.h"
#include "tally/generated/ops.h"
#include "wire/message.h"

static void function_free(struct function *function)
{
    if (!function)
        return;
    function_free(function->guarded);
    function_free(function->subgrid);
    module_put(function->module);
    free(function->name);
    free(function);
}

static struct function *function_new(struct session *session, struct module *module,
                                     CUfunction driver)
{
    const struct tally_driver *cu = &session->driver->cu;
    static const struct function none;
    struct tally_param params[TALLY_PARAMS_MAX];
    uint32_t count = 0, bytes = 0;
    bool known = cu->cuFuncGetParamInfo;
    for (; known && count < TALLY_PARAMS_MAX; count++) {
        size_t offset = 0, size = 0;
        CUresult result = cu->cuFuncGetParamInfo(driver, count, &offset, &size);
        if (result == CUDA_ERROR_NOT_SUPPORTED || offset > TALLY_PARAM_BYTES_MAX ||
            size > TALLY_PARAM_BYTES_MAX)
            known = false;
        if (result != CUDA_SUCCESS)
            break;
        params[count] = (struct tally_param){.offset = (uint32_t)offset, .bytes = (uint32_t)size};
        bytes = offset + size > bytes ? (uint32_t)(offset + size) : bytes;
    }
    count = known ? count : 0;
    struct function *function = malloc(sizeof *function + count * sizeof *params);
    if (!function)
        return NULL;
    *function = none;
    function->driver = driver;
    function->module = module;
    function->param_count = count;
    function->param_bytes = bytes;
    function->params_known = known;
    memcpy(function->params, params, count * sizeof *params);
    module->refs++;
    return function;
}

/* ---- what the program asks of a kernel ------------------------------------------------------ */

static void apply(struct session *session, const struct function *form,
                  const struct function_settings *settings)
{
    const struct tally_driver *cu = &session->driver->cu;
    if (!form)
        return;
    if (settings->carved)
        cu->cuFuncSetAttribute(form->driver, CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
                               settings->carveout);
    if (settings->cached)
        cu->cuFuncSetCacheConfig(form->driver, settings->cache);
    if (settings->banked)
        cu->cuFuncSetSharedMemConfig(form->driver, settings->banks);
}

/* Dynamic shared memory is not among them: forms get as much as a launch needs (launch.c). */
static void remember(struct function_settings *settings, int attribute, int value)
{
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        settings->carveout = value;
        settings->carved = true;
        break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT:
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH:
        settings->clusters |= value != 0;
        break;
    default:
        break;
    }
}

void function_follow(struct session *session, const struct message *message)
{
    struct tally_op_cuFuncSetAttribute attribute;
    struct tally_op_cuFuncSetCacheConfig cache;
    struct tally_op_cuFuncSetSharedMemConfig banks;
    struct function *function = NULL;
    switch (message->op.code) {
    case TALLY_OP_cuFuncSetAttribute:
        memcpy(&attribute, message->bytes, sizeof attribute);
        if ((function = function_find(session, attribute.hfunc)))
            remember(&function->settings, (int)attribute.attrib, (int)attribute.value);
        break;
    case TALLY_OP_cuFuncSetCacheConfig:
        memcpy(&cache, message->bytes, sizeof cache);
        if ((function = function_find(session, cache.hfunc)))
            function->settings.cached = true, function->settings.cache = (CUfunc_cache)cache.config;
        break;
    case TALLY_OP_cuFuncSetSharedMemConfig:
        memcpy(&banks, message->bytes, sizeof banks);
        if ((function = function_find(session, banks.hfunc)))
            function->settings.banked = true,
            function->settings.banks = (CUsharedconfig)banks.config;
        break;
    default:
        return;
    }
    if (!function)
        return;
    apply(session, function->guarded, &function->settings);
    apply(session, function->subgrid, &function->settings);
}

/* ---- forms ---------------------------------------------------------------------------------- */

static struct function *form_of(struct session *session, struct module *module, CUmodule from,
                                const char *name, const char *suffix)
{
    char full[TALLY_NAME_BYTES_MAX + 32];
    CUfunction driver = NULL;
    snprintf(full, sizeof full, "%s%s", name, suffix);
    if (session->driver->cu.cuModuleGetFunction(&driver, from, full) != CUDA_SUCCESS)
        return NULL;
    struct function *form = function_new(session, module, driver);
    if (form && form->params_known && form->param_count > 0)
        return form;
    function_free(form);
    return NULL;
}

static void find_forms(struct session *session, struct function *function, CUmodule from,
                       const char *name)
{
    function->guarded = form_of(session, function->module, from, name, TALLY_GUARDED_SUFFIX);
    function->subgrid = form_of(session, function->module, from, name, TALLY_SUBGRID_SUFFIX);
    apply(session, function->guarded, &function->settings);
    apply(session, function->subgrid, &function->settings);
}

void function_update(struct session *session, struct function *function)
{
    CUmodule from = NULL;
    if (!function->forms_pending || forms_state(function->module->forms, &from) == FORMS_PENDING)
        return;
    function->forms_pending = false;
    function->noted = 0; /* what it is able to has changed */
    if (from)
        find_forms(session, function, from, function->name);
}

/* What the scheduler knows a kernel by, and the rewritten forms that its module has. */
static void add_forms(struct session *session, struct function *function, const char *name)
{
    uint64_t hash = 0;
    memcpy(&hash, function->module->hash, sizeof hash);
    for (const char *at = name; *at; at++)
        hash = (hash ^ (uint8_t)*at) * 0x100000001b3ull;
    function->code = hash;
    function->name = strdup(name); /* NULL: it goes without */
    function->meets = meeting_kernel(session->engine->config.waiting_kernels, name);
    if (function->module->rewritten)
        find_forms(session, function, function->module->driver, name);
    function->forms_pending = function->module->forms && function->name;
    function_update(session, function);
}

/* ---- ops ------------------------------------------------------------------------------------ */

static void read_attributes(const struct tally_driver *cu, CUfunction function, int32_t *attributes)
{
    for (int i = 0; i < CU_FUNC_ATTRIBUTE_MAX && i < (int)TALLY_FUNCTION_ATTRIBUTES; i++) {
        int value = 0;
        if (cu->cuFuncGetAttribute(&value, (CUfunction_attribute)i, function) == CUDA_SUCCESS)
            attributes[i] = value;
    }
}

void functions_init(struct session *session) { session->functions.kind = TALLY_KIND_FUNCTION; }

struct function *function_find(const struct session *session, uint64_t handle)
{
    return table_get(&session->functions, handle);
}

void functions_drop(struct session *session, const struct module *module)
{
    for (uint32_t i = 0; i < session->functions.room; i++) {
        struct function *function = session->functions.items[i];
        if (!function || (module && function->module != module))
            continue;
        session->functions.items[i] = NULL;
        function_free(function);
    }
    if (!module)
        table_clear(&session->functions);
}

bool op_get_function(struct session *session, const struct message *message)
{
    struct tally_op_get_function op;
    struct tally_reader tail;
    char name[TALLY_NAME_BYTES_MAX + 1];
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, &tail) ||
        !module_read_name(&tail, op.name_bytes, name) ||
        !table_is_free(&session->functions, op.function))
        return false;
    struct module *module = module_find(session, op.module);
    struct function *function = NULL;
    CUfunction driver = NULL;
    CUresult result = CUDA_ERROR_INVALID_HANDLE;
    if (module)
        result = session->driver->cu.cuModuleGetFunction(&driver, module->driver, name);
    if (result == CUDA_SUCCESS && !(function = function_new(session, module, driver)))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (function)
        add_forms(session, function, name);
    if (function && !table_set(&session->functions, op.function, function)) {
        function_free(function);
        function = NULL;
        result = CUDA_ERROR_OUT_OF_MEMORY;
    }
    struct tally_reply_get_function reply = {0};
    if (function) {
        read_attributes(&session->driver->cu, driver, reply.attributes);
        reply.param_count = function->param_count;
        reply.param_bytes = function->param_bytes;
    }
    session_note(session, result);
    session_reply(session, &op.op, result, &reply, sizeof reply, function ? function->params : NULL,
                  function ? function->param_count * sizeof *function->params : 0);
    return true;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strlen(name), tail = strlen(suffix);
    return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

/* The rewritten forms are ours, not the program's; names that no message can hold cannot be asked
 * for. */
static bool is_listed(const char *name)
{
    return !ends_with(name, TALLY_GUARDED_SUFFIX) && !ends_with(name, TALLY_SUBGRID_SUFFIX) &&
           strlen(name) <= TALLY_NAME_BYTES_MAX;
}

/* Names from the first one on, one after the other, each with its NUL; as many as fit into one
 * message. */
static CUresult list(struct session *session, const struct module *module, uint32_t first,
                     char *names, size_t room, struct tally_reply_list_functions *reply)
{
    const struct tally_driver *cu = &session->driver->cu;
    if (!cu->cuModuleGetFunctionCount || !cu->cuModuleEnumerateFunctions || !cu->cuFuncGetName)
        return CUDA_ERROR_NOT_SUPPORTED;
    unsigned count = 0;
    CUresult result = cu->cuModuleGetFunctionCount(&count, module->driver);
    if (result != CUDA_SUCCESS || count == 0)
        return result;
    CUfunction *functions = calloc(count, sizeof *functions);
    if (!functions)
        return CUDA_ERROR_OUT_OF_MEMORY;
    result = cu->cuModuleEnumerateFunctions(functions, count, module->driver);
    for (unsigned i = 0; i < count && result == CUDA_SUCCESS; i++) {
        const char *name = NULL;
        result = cu->cuFuncGetName(&name, functions[i]);
        if (result != CUDA_SUCCESS || !is_listed(name) || reply->total++ < first)
            continue;
        size_t bytes = strlen(name) + 1;
        if (reply->total - 1 != first + reply->count || bytes > room - reply->name_bytes)
            continue; /* for the next message; it still counts */
        memcpy(names + reply->name_bytes, name, bytes);
        reply->name_bytes += (uint32_t)bytes;
        reply->count++;
    }
    free(functions);
    return result;
}

bool op_list_functions(struct session *session, const struct message *message)
{
    struct tally_op_list_functions op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct module *module = module_find(session, op.module);
    const size_t room = TALLY_MESSAGE_BYTES_MAX - sizeof(struct tally_reply_list_functions);
    char *names = malloc(room);
    struct tally_reply_list_functions reply = {0};
    CUresult result = !module  ? CUDA_ERROR_INVALID_HANDLE
                      : !names ? CUDA_ERROR_OUT_OF_MEMORY
                               : list(session, module, op.first, names, room, &reply);
    if (result != CUDA_SUCCESS)
        reply.count = reply.name_bytes = reply.total = 0;
    session_note(session, result);
    session_reply(session, &op.op, result, &reply, sizeof reply, names, reply.name_bytes);
    free(names);
    return true;
}
