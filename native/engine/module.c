/* Modules, functions and globals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/container.h"
#include "engine/image.h"
#include "engine/session.h"

static void module_put(struct module *module)
{
    if (--module->refs == 0)
        free(module);
}

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

static void forget_uploads(struct session *session, uint64_t id)
{
    for (uint32_t i = 0; i < UPLOADS_MAX; i++) {
        struct upload *upload = &session->uploads[i];
        if (!upload->id || (id && upload->id != id))
            continue;
        free(upload->bytes);
        *upload = (struct upload){0};
    }
}

/* Driver objects go with the driver's module; what is left here is memory. */
void modules_close(struct session *session)
{
    for (uint32_t i = 0; i < session->functions.room; i++) {
        function_free(session->functions.items[i]);
    }
    for (uint32_t i = 0; i < session->modules.room; i++) {
        struct module *module = session->modules.items[i];
        if (!module)
            continue;
        session->driver->cu.cuModuleUnload(module->driver);
        module_put(module);
    }
    forget_uploads(session, 0);
    table_clear(&session->functions);
    table_clear(&session->modules);
}

/* ---- loading ---- */

static struct image *image_of_upload(struct session *session, const struct tally_op_module_load *op)
{
    struct image *image = NULL;
    for (uint32_t i = 0; i < UPLOADS_MAX; i++) {
        struct upload *upload = &session->uploads[i];
        if (!op->upload || upload->id != op->upload)
            continue;
        image = image_of(engine_images(session->engine), upload->bytes, upload->total);
        *upload = (struct upload){0};
    }
    return image;
}

static struct image *image_of_bytes(struct session *session, const uint8_t *tail, size_t bytes)
{
    uint8_t *copy = malloc(bytes + 1);
    if (!copy)
        return NULL;
    memcpy(copy, tail, bytes);
    copy[bytes] = 0;
    return image_of(engine_images(session->engine), copy, bytes);
}

static CUresult find_image(struct session *session, const struct tally_op_module_load *op, const uint8_t *tail,
                           struct image **image)
{
    char path[TALLY_PATH_BYTES_MAX + 1];
    switch (op->source) {
    case TALLY_IMAGE_FILE:
        memcpy(path, tail, op->tail_bytes);
        path[op->tail_bytes] = 0;
        return image_of_file(session, path, op->offset, op->bytes, image);
    case TALLY_IMAGE_UPLOAD:
        *image = image_of_upload(session, op);
        return *image ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    case TALLY_IMAGE_INLINE:
        *image = image_of_bytes(session, tail, op->tail_bytes);
        return *image ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    default:
        *image = image_by_hash(engine_images(session->engine), op->hash);
        return *image ? CUDA_SUCCESS : (CUresult)TALLY_RESULT_NEED_IMAGE;
    }
}

static CUresult load_bytes(struct session *session, CUmodule *module, const void *bytes, char *log, size_t log_bytes)
{
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)log_bytes};
    return session->driver->cu.cuModuleLoadDataEx(module, bytes, 2, options, values);
}

/* Best-effort code is loaded with the rewritten forms of its kernels beside them, in one module: so they
 * share its variables. Where the driver refuses that, as it came. */
static CUresult load_rewritten(struct session *session, struct image *image, struct module *module, char *log,
                               size_t log_bytes)
{
    tally_rewrite_fn rewrite = engine_config(session->engine)->rewrite;
    const char *text = NULL;
    if (rewrite && !session->config.high) {
        text = image_rewritten(engine_images(session->engine), image, rewrite);
        if (!text)
            tally_stats_add(&session->stats, TALLY_COUNT_REWRITES_IMPOSSIBLE, 1);
    }
    module->rewritten = text && load_bytes(session, &module->driver, text, log, log_bytes) == CUDA_SUCCESS;
    if (module->rewritten)
        return CUDA_SUCCESS;
    if (text)
        tally_stats_add(&session->stats, TALLY_COUNT_REWRITES_REFUSED, 1);
    memset(log, 0, log_bytes);
    return load_bytes(session, &module->driver, image->bytes, log, log_bytes);
}

static CUresult load_image(struct session *session, struct image *image, uint64_t handle, char *log,
                           size_t log_bytes)
{
    const struct tally_driver *cu = &session->driver->cu;
    if (!container_is_whole(image->bytes, image->count))
        return CUDA_ERROR_INVALID_IMAGE;
    struct module *module = calloc(1, sizeof *module);
    if (!module)
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = load_rewritten(session, image, module, log, log_bytes);
    if (result != CUDA_SUCCESS) {
        free(module);
        return result;
    }
    memcpy(module->hash, image->hash, sizeof module->hash);
    module->refs = 1;
    if (!table_set(&session->modules, handle, module)) {
        cu->cuModuleUnload(module->driver);
        free(module);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    tally_stats_add(&session->stats, TALLY_COUNT_MODULES, 1);
    return CUDA_SUCCESS;
}

static bool load_is_sound(const struct tally_op_module_load *op, const struct tally_reader *tail)
{
    if (tail->left != op->tail_bytes)
        return false;
    switch (op->source) {
    case TALLY_IMAGE_FILE:
        return op->tail_bytes > 0 && op->tail_bytes <= TALLY_PATH_BYTES_MAX && op->bytes > 0 &&
               op->bytes <= IMAGE_BYTES_MAX && op->offset <= INT64_MAX - op->bytes &&
               !memchr(tail->at, 0, op->tail_bytes);
    case TALLY_IMAGE_INLINE:
        return op->tail_bytes > 0;
    case TALLY_IMAGE_UPLOAD:
    case TALLY_IMAGE_HASH:
        return op->tail_bytes == 0;
    default:
        return false;
    }
}

bool op_module_load(struct session *session, const struct message *message)
{
    struct tally_op_module_load op;
    struct tally_reader tail;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, &tail) || !load_is_sound(&op, &tail) ||
        !table_is_free(&session->modules, op.module))
        return false;
    /* Drivers want a buffer even where the caller has no room for a log. */
    size_t log_bytes = op.log_bytes < TALLY_LOG_BYTES_MAX ? op.log_bytes : TALLY_LOG_BYTES_MAX;
    char *log = calloc(1, log_bytes + 16);
    struct image *image = NULL;
    CUresult result = log ? find_image(session, &op, tail.at, &image) : CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS)
        result = load_image(session, image, op.module, log, log_bytes + 15);
    if (image)
        image_release(engine_images(session->engine), image);
    struct tally_reply_module_load reply = {0};
    reply.log_bytes = (uint32_t)(log && result != CUDA_SUCCESS ? strnlen(log, log_bytes) : 0);
    if (result != CUDA_SUCCESS && (int)result != TALLY_RESULT_NEED_IMAGE)
        tally_stats_add(&session->stats, TALLY_COUNT_ERRORS, 1);
    session_note(session, result);
    session_reply(session, &op.op, result, &reply, sizeof reply, log, reply.log_bytes);
    free(log);
    return true;
}

/* ---- unloading ---- */

static void unload(struct session *session, struct wait_item *item, CUresult result)
{
    (void)result;
    session->driver->cu.cuModuleUnload((CUmodule)item->a);
}

bool op_module_unload(struct session *session, const struct message *message)
{
    struct tally_op_module_unload op;
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, NULL))
        return false;
    struct module *module = table_take(&session->modules, op.module);
    if (!module) {
        session_finish(session, &op.op, CUDA_ERROR_INVALID_HANDLE);
        return true;
    }
    for (uint32_t i = 0; i < session->functions.room; i++) {
        struct function *function = session->functions.items[i];
        if (!function || function->module != module)
            continue;
        session->functions.items[i] = NULL;
        function_free(function);
    }
    pthread_mutex_lock(&session->memory.lock);
    ranges_remove_owner(&session->memory.ranges, module);
    pthread_mutex_unlock(&session->memory.lock);
    session_defer(session, unload, (uint64_t[3]){(uint64_t)module->driver});
    module_put(module);
    session_finish(session, &op.op, CUDA_SUCCESS);
    return true;
}

/* ---- functions ---- */

static struct function *function_new(struct session *session, struct module *module, CUfunction driver)
{
    const struct tally_driver *cu = &session->driver->cu;
    static const struct function none;
    struct tally_param params[TALLY_PARAMS_MAX];
    uint32_t count = 0, bytes = 0;
    bool known = cu->cuFuncGetParamInfo;
    for (; known && count < TALLY_PARAMS_MAX; count++) {
        size_t offset = 0, size = 0;
        CUresult result = cu->cuFuncGetParamInfo(driver, count, &offset, &size);
        if (result == CUDA_ERROR_NOT_SUPPORTED || offset > TALLY_PARAM_BYTES_MAX || size > TALLY_PARAM_BYTES_MAX)
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

static struct function *form_of(struct session *session, struct module *module, const char *name, const char *suffix)
{
    char full[TALLY_NAME_BYTES_MAX + 32];
    CUfunction driver = NULL;
    snprintf(full, sizeof full, "%s%s", name, suffix);
    if (session->driver->cu.cuModuleGetFunction(&driver, module->driver, full) != CUDA_SUCCESS)
        return NULL;
    struct function *form = function_new(session, module, driver);
    if (form && form->params_known && form->param_count > 0)
        return form;
    function_free(form);
    return NULL;
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
    if (!function->module->rewritten)
        return;
    function->guarded = form_of(session, function->module, name, TALLY_GUARDED_SUFFIX);
    function->subgrid = form_of(session, function->module, name, TALLY_SUBGRID_SUFFIX);
}

static void read_attributes(const struct tally_driver *cu, CUfunction function, int32_t *attributes)
{
    for (int i = 0; i < CU_FUNC_ATTRIBUTE_MAX && i < (int)TALLY_FUNCTION_ATTRIBUTES; i++) {
        int value = 0;
        if (cu->cuFuncGetAttribute(&value, (CUfunction_attribute)i, function) == CUDA_SUCCESS)
            attributes[i] = value;
    }
}

/* A name in a message: without NUL, of bounded length. */
static bool read_name(const struct tally_reader *tail, uint32_t name_bytes, char name[TALLY_NAME_BYTES_MAX + 1])
{
    if (name_bytes == 0 || name_bytes > TALLY_NAME_BYTES_MAX || tail->left != name_bytes ||
        memchr(tail->at, 0, name_bytes))
        return false;
    memcpy(name, tail->at, name_bytes);
    name[name_bytes] = 0;
    return true;
}

bool op_get_function(struct session *session, const struct message *message)
{
    struct tally_op_get_function op;
    struct tally_reader tail;
    char name[TALLY_NAME_BYTES_MAX + 1];
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, &tail) ||
        !read_name(&tail, op.name_bytes, name) || !table_is_free(&session->functions, op.function))
        return false;
    struct module *module = table_get(&session->modules, op.module);
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

bool op_get_global(struct session *session, const struct message *message)
{
    struct tally_op_get_global op;
    struct tally_reader tail;
    char name[TALLY_NAME_BYTES_MAX + 1];
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, &tail) ||
        !read_name(&tail, op.name_bytes, name))
        return false;
    struct module *module = table_get(&session->modules, op.module);
    CUdeviceptr address = 0;
    size_t bytes = 0;
    CUresult result = CUDA_ERROR_INVALID_HANDLE;
    if (module)
        result = session->driver->cu.cuModuleGetGlobal_v2(&address, &bytes, module->driver, name);
    struct tally_reply_get_global reply = {0};
    if (result == CUDA_SUCCESS) {
        reply.address = address;
        reply.bytes = bytes;
        struct range range = {.base = address, .bytes = bytes, .kind = RANGE_GLOBAL, .owner = module};
        pthread_mutex_lock(&session->memory.lock);
        ranges_add(&session->memory.ranges, range); /* false when it was asked for before */
        pthread_mutex_unlock(&session->memory.lock);
    }
    session_note(session, result);
    session_reply(session, &op.op, result, &reply, sizeof reply, NULL, 0);
    return true;
}

static bool ends_with(const char *name, const char *suffix)
{
    size_t length = strlen(name), tail = strlen(suffix);
    return length >= tail && strcmp(name + length - tail, suffix) == 0;
}

/* The rewritten forms are ours, not the program's; names that no message can hold cannot be asked for. */
static bool is_listed(const char *name)
{
    return !ends_with(name, TALLY_GUARDED_SUFFIX) && !ends_with(name, TALLY_SUBGRID_SUFFIX) &&
           strlen(name) <= TALLY_NAME_BYTES_MAX;
}

/* Names from the first one on, one after the other, each with its NUL; as many as fit into one message. */
static CUresult list(struct session *session, const struct module *module, uint32_t first, char *names, size_t room,
                     struct tally_reply_list_functions *reply)
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
    struct module *module = table_get(&session->modules, op.module);
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
