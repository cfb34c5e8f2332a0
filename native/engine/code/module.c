/* Modules, functions and globals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/code/container.h"
#include "engine/code/image.h"
#include "engine/code/rewriter.h"
#include "engine/session/session.h"

/* How long loading waits for rewritten forms: a small module's are there in a few milliseconds, and then its
 * very first launch can be stopped. */
#define FORMS_WAIT_NS 50000000ull
#define LOG_BYTES_MIN 1024u /* of the driver's log; the program may have asked for less, its user is told */

void module_put(struct module *module)
{
    if (--module->refs == 0)
        free(module);
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

/* The driver's module of rewritten forms that is to be unloaded, or NULL. */
static CUmodule drop_forms(struct session *session, struct module *module)
{
    struct forms *forms = module->forms;
    module->forms = NULL;
    return forms ? rewriter_drop(engine_rewriter(session->engine), forms) : NULL;
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
        CUmodule forms = drop_forms(session, module);
        if (forms)
            session->driver->cu.cuModuleUnload(forms);
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
        return image_of_file(session, path, op->hash, op->offset, op->bytes, image);
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

/* The image as it came; of a bundle the driver is given the whole. */
static CUresult load_original(struct session *session, CUmodule *module, const struct image *image, char *log,
                              size_t log_bytes)
{
    struct container_wrapper wrapper;
    if (!container_wrap(image->bytes, image->count, &wrapper))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = load_bytes(session, module, wrapper.image, log, log_bytes);
    container_unwrap(&wrapper);
    return result;
}

/* Rewritten forms of its kernels follow in a module of their own. */
static CUresult load_ahead(struct session *session, struct image *image, const void *code, struct module *module,
                           char *log, size_t log_bytes)
{
    struct rewriter *rewriter = engine_rewriter(session->engine);
    bool original = code == image->bytes;
    CUresult result = original ? load_original(session, &module->driver, image, log, log_bytes)
                               : load_bytes(session, &module->driver, code, log, log_bytes);
    if (result == CUDA_SUCCESS) {
        if ((module->forms = rewriter_add(rewriter, session, image, module->driver)))
            rewriter_wait(rewriter, module->forms, FORMS_WAIT_NS);
    } else if (!original) { /* such as PTX that is too new for the driver, beside machine code */
        tally_stats_add(&session->stats, TALLY_COUNT_REWRITES_REFUSED, 1);
        memset(log, 0, log_bytes);
        result = load_original(session, &module->driver, image, log, log_bytes);
    }
    return result;
}

/* Best-effort code whose kernels use variables of their module is loaded with the rewritten forms beside
 * them, in one module: so they share these. Where the driver refuses that, as it came. */
static CUresult load_rewritten(struct session *session, struct image *image, struct module *module, char *log,
                               size_t log_bytes)
{
    const struct tally_engine_config *config = engine_config(session->engine);
    tally_rewrite_fn rewrite = config->rewrite;
    const char *text = NULL;
    if (rewrite && !session->config.high) {
        struct image_cache *images = engine_images(session->engine);
        const void *code = NULL;
        if (config->rewrite_beside && image_forms_beside(images, image, config->rewrite_beside, &code))
            return load_ahead(session, image, code, module, log, log_bytes);
        text = image_rewritten(images, image, rewrite);
        if (!text)
            tally_stats_add(&session->stats, TALLY_COUNT_REWRITES_IMPOSSIBLE, 1);
    }
    module->rewritten = text && load_bytes(session, &module->driver, text, log, log_bytes) == CUDA_SUCCESS;
    if (module->rewritten) {
        tally_stats_add(&session->stats, TALLY_COUNT_REWRITES, 1);
        return CUDA_SUCCESS;
    }
    if (text)
        tally_stats_add(&session->stats, TALLY_COUNT_REWRITES_REFUSED, 1);
    memset(log, 0, log_bytes);
    return load_original(session, &module->driver, image, log, log_bytes);
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
        CUmodule forms = drop_forms(session, module);
        if (forms)
            cu->cuModuleUnload(forms);
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
               op->bytes <= INT64_MAX && op->offset <= INT64_MAX - op->bytes &&
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

/* The reason, in the driver's own words where it has any: the first line of its log. */
static void tell_refused(struct session *session, CUresult result, const char *log)
{
    char error[64];
    driver_error_text(session->driver, result, error, sizeof error);
    size_t bytes = log ? strcspn(log, "\n") : 0;
    session_tell(session, "a module cannot be loaded: %s%s%.*s", error, bytes ? ": " : "", (int)bytes,
                 bytes ? log : "");
}

/* Asked before the image is sent, or read from its file. */
static CUresult check_size(const struct session *session, uint64_t bytes, char *log, size_t room)
{
    uint64_t most = engine_config(session->engine)->module_bytes_max;
    if (bytes <= most)
        return CUDA_SUCCESS;
    snprintf(log, room, "its image has %llu bytes; `module_bytes_max` in tallyd's config is %llu",
             (unsigned long long)bytes, (unsigned long long)most);
    return CUDA_ERROR_OUT_OF_MEMORY;
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
    size_t room = log_bytes > LOG_BYTES_MIN ? log_bytes : LOG_BYTES_MIN;
    char *log = calloc(1, room + 16);
    struct image *image = NULL;
    CUresult result = log ? check_size(session, op.bytes, log, room) : CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS)
        result = find_image(session, &op, tail.at, &image);
    if (result == CUDA_SUCCESS)
        result = load_image(session, image, op.module, log, room + 15);
    if (image)
        image_release(engine_images(session->engine), image);
    struct tally_reply_module_load reply = {0};
    reply.log_bytes = (uint32_t)(log && result != CUDA_SUCCESS ? strnlen(log, log_bytes) : 0);
    if (result != CUDA_SUCCESS && (int)result != TALLY_RESULT_NEED_IMAGE) {
        tally_stats_add(&session->stats, TALLY_COUNT_ERRORS, 1);
        tell_refused(session, result, log);
    }
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
    CUmodule forms = drop_forms(session, module);
    if (forms)
        session_defer(session, unload, (uint64_t[3]){(uint64_t)forms});
    session_defer(session, unload, (uint64_t[3]){(uint64_t)module->driver});
    module_put(module);
    session_finish(session, &op.op, CUDA_SUCCESS);
    return true;
}

bool module_read_name(const struct tally_reader *tail, uint32_t name_bytes, char name[TALLY_NAME_BYTES_MAX + 1])
{
    if (name_bytes == 0 || name_bytes > TALLY_NAME_BYTES_MAX || tail->left != name_bytes ||
        memchr(tail->at, 0, name_bytes))
        return false;
    memcpy(name, tail->at, name_bytes);
    name[name_bytes] = 0;
    return true;
}

bool op_get_global(struct session *session, const struct message *message)
{
    struct tally_op_get_global op;
    struct tally_reader tail;
    char name[TALLY_NAME_BYTES_MAX + 1];
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, &tail) ||
        !module_read_name(&tail, op.name_bytes, name))
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
