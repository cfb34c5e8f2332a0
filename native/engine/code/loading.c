#include "engine/code/loading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/code/container.h"
#include "engine/code/function.h"
#include "engine/code/image.h"
#include "engine/code/module.h"
#include "engine/code/rewriter.h"
#include "engine/code/upload.h"
#include "engine/device/driver.h"
#include "engine/memory/memory.h"
#include "engine/ops/message.h"
#include "engine/session/fault.h"
#include "engine/session/notice.h"
#include "engine/session/reply.h"
#include "engine/session/session.h"
#include "engine/session/table.h"
#include "engine/session/waiter.h"
#include "engine/streams/later.h"
#include "wire/message.h"

/* How long loading waits for rewritten forms: a small module's are there in a few milliseconds, and
 * then its very first launch can be stopped. */
#define FORMS_WAIT_NS 50000000ull
/* Of the driver's log; the program may have asked for less, its user is told. */
#define LOG_BYTES_MIN 1024u

static struct image *image_of_upload(struct session *session, const struct tally_op_module_load *op)
{
    uint64_t total = 0;
    uint8_t *bytes = upload_take(session, op->upload, &total);
    return bytes ? image_of(session->engine->images, bytes, total) : NULL;
}

static struct image *image_of_bytes(struct session *session, const uint8_t *tail, size_t bytes)
{
    uint8_t *copy = malloc(bytes + 1);
    if (!copy)
        return NULL;
    memcpy(copy, tail, bytes);
    copy[bytes] = 0;
    return image_of(session->engine->images, copy, bytes);
}

static CUresult find_image(struct session *session, const struct tally_op_module_load *op,
                           const uint8_t *tail, struct image **image)
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
        *image = image_by_hash(session->engine->images, op->hash);
        return *image ? CUDA_SUCCESS : (CUresult)TALLY_RESULT_NEED_IMAGE;
    }
}

static CUresult load_bytes(struct session *session, CUmodule *module, const void *bytes, char *log,
                           size_t log_bytes)
{
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)log_bytes};
    return session->driver->cu.cuModuleLoadDataEx(module, bytes, 2, options, values);
}

/* The image as it came; of a bundle the driver is given the whole. */
static CUresult load_original(struct session *session, CUmodule *module, const struct image *image,
                              char *log, size_t log_bytes)
{
    struct container_wrapper wrapper;
    if (!container_wrap(image->bytes, image->count, &wrapper))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = load_bytes(session, module, wrapper.image, log, log_bytes);
    container_unwrap(&wrapper);
    return result;
}

/* Rewritten forms of its kernels follow in a module of their own. */
static CUresult load_ahead(struct session *session, struct image *image, const void *code,
                           struct module *module, char *log, size_t log_bytes)
{
    struct rewriter *rewriter = session->engine->rewriter;
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

/* Best-effort code whose kernels use variables of their module is loaded with the rewritten forms
 * beside them, in one module: so they share these. Where the driver refuses that, as it came. */
static CUresult load_rewritten(struct session *session, struct image *image, struct module *module,
                               char *log, size_t log_bytes)
{
    const struct tally_engine_config *config = &session->engine->config;
    tally_rewrite_fn rewrite = config->rewrite;
    const char *text = NULL;
    if (rewrite && !session->config.high) {
        struct image_cache *images = session->engine->images;
        const void *code = NULL;
        if (config->rewrite_beside &&
            image_forms_beside(images, image, config->rewrite_beside, &code))
            return load_ahead(session, image, code, module, log, log_bytes);
        text = image_rewritten(images, image, rewrite);
        if (!text)
            tally_stats_add(&session->stats, TALLY_COUNT_REWRITES_IMPOSSIBLE, 1);
    }
    module->rewritten =
        text && load_bytes(session, &module->driver, text, log, log_bytes) == CUDA_SUCCESS;
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
        CUmodule forms = module_drop_forms(session, module);
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
    session_tell(session, "a module cannot be loaded: %s%s%.*s", error, bytes ? ": " : "",
                 (int)bytes, bytes ? log : "");
}

/* Asked before the image is sent, or read from its file. */
static CUresult check_size(const struct session *session, uint64_t bytes, char *log, size_t room)
{
    uint64_t most = session->engine->config.module_bytes_max;
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
    if (!tally_op_split(message->bytes, message->size, &op, sizeof op, &tail) ||
        !load_is_sound(&op, &tail) || !table_is_free(&session->modules, op.module))
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
        image_release(session->engine->images, image);
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
    functions_drop(session, module);
    memory_drop_globals(session, module);
    CUmodule forms = module_drop_forms(session, module);
    if (forms)
        session_defer(session, unload, (uint64_t[3]){(uint64_t)forms});
    session_defer(session, unload, (uint64_t[3]){(uint64_t)module->driver});
    module_put(module);
    session_finish(session, &op.op, CUDA_SUCCESS);
    return true;
}

/* Driver objects go with the driver's module; what is left here is memory. */
void modules_close(struct session *session)
{
    functions_drop(session, NULL);
    for (uint32_t i = 0; i < session->modules.room; i++) {
        struct module *module = session->modules.items[i];
        if (!module)
            continue;
        CUmodule forms = module_drop_forms(session, module);
        if (forms)
            session->driver->cu.cuModuleUnload(forms);
        session->driver->cu.cuModuleUnload(module->driver);
        module_put(module);
    }
    uploads_close(session);
    table_clear(&session->modules);
}
