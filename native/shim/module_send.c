#include "module_send.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "wire/sha256.h"

/* Up to here sending the bytes costs less than asking for them by hash first. */
#define INLINE_IMAGE_BYTES_MAX (64u * 1024u)

static _Atomic uint64_t next_upload = 1;

/* Hands the executor's log to the caller, as CUDA's JIT options promise: NUL-terminated, cut to
 * fit. */
static void deliver_log(struct shim_module_log *log, CUresult result, const char *text,
                        size_t bytes)
{
    shim_module_log_clear(log);
    char *to = result ? log->error : log->info;
    size_t room = result ? log->error_bytes : log->info_bytes;
    size_t *filled = result ? &log->error_filled : &log->info_filled;
    if (!to || !room)
        return;
    size_t length = bytes < room ? bytes : room - 1;
    if (length)
        memcpy(to, text, length);
    to[length] = 0;
    *filled = length;
}

void shim_module_log_clear(struct shim_module_log *log)
{
    if (log->info && log->info_bytes)
        log->info[0] = 0;
    if (log->error && log->error_bytes)
        log->error[0] = 0;
    log->info_filled = log->error_filled = 0;
}

static CUresult load(struct shim_channel *channel, struct tally_op_module_load *op,
                     const void *tail, struct shim_module_log *log)
{
    op->op = (struct tally_op){.code = TALLY_OP_MODULE_LOAD};
    size_t room = log->error_bytes > log->info_bytes ? log->error_bytes : log->info_bytes;
    op->log_bytes = room < TALLY_LOG_BYTES_MAX ? (uint32_t)room : TALLY_LOG_BYTES_MAX;
    struct tally_reply_module_load reply;
    struct shim_call call = {.reply = &reply, .reply_bytes = sizeof reply, .keep_tail = true};
    CUresult result = shim_call_begin(channel, &call, op, sizeof *op, tail, op->tail_bytes);
    if (result)
        return result;
    result = shim_call_end(channel, &call);
    if ((int)result != TALLY_RESULT_NEED_IMAGE)
        deliver_log(log, result, call.tail, call.tail_bytes);
    free(call.tail);
    return result;
}

static CUresult upload(struct shim_channel *channel, uint64_t id, const struct shim_image *image)
{
    for (size_t offset = 0; offset < image->bytes;) {
        struct shim_slot slot;
        CUresult result = shim_slot_take(channel, true, &slot);
        if (result)
            return result;
        size_t left = image->bytes - offset;
        size_t bytes = left < shim_slot_bytes(channel) ? left : shim_slot_bytes(channel);
        memcpy(slot.bytes, image->data + offset, bytes);
        struct tally_op_upload op = {
            .op.code = TALLY_OP_UPLOAD,
            .upload = id,
            .total = image->bytes,
            .offset = offset,
            .bytes = bytes,
            .slot = slot.index,
            .slot_sequence = slot.sequence,
        };
        result = shim_send(channel, &op, sizeof op, NULL, 0);
        shim_slot_give(channel, &slot, result == CUDA_SUCCESS);
        if (result)
            return result;
        offset += bytes;
    }
    return CUDA_SUCCESS;
}

static CUresult send_by_hash(struct shim_channel *channel, uint64_t handle,
                             const struct shim_image *image, struct shim_module_log *log)
{
    struct tally_op_module_load op = {
        .module = handle, .source = TALLY_IMAGE_HASH, .bytes = image->bytes};
    tally_sha256(image->data, image->bytes, op.hash);
    CUresult result = load(channel, &op, NULL, log);
    if ((int)result != TALLY_RESULT_NEED_IMAGE)
        return result;
    op.source = TALLY_IMAGE_UPLOAD;
    op.upload = atomic_fetch_add(&next_upload, 1);
    result = upload(channel, op.upload, image);
    return result ? result : load(channel, &op, NULL, log);
}

CUresult shim_module_send(struct shim_channel *channel, uint64_t handle,
                          const struct shim_image *image, const struct shim_image_file *file,
                          struct shim_module_log *log)
{
    struct tally_op_module_load op = {.module = handle, .bytes = image->bytes};
    if (file) {
        op.source = TALLY_IMAGE_FILE;
        op.offset = file->offset;
        op.tail_bytes = (uint32_t)strlen(file->path);
        struct stat status; /* which file it is here: in another mount namespace its name is another
                               one's */
        if (stat(file->path, &status) == 0) {
            memcpy(op.hash, &(uint64_t){status.st_dev}, 8);
            memcpy(op.hash + 8, &(uint64_t){status.st_ino}, 8);
        }
        CUresult result = load(channel, &op, file->path, log);
        if (result != CUDA_ERROR_FILE_NOT_FOUND)
            return result; /* else the executor lives in another file system, or may not read it */
    }
    memset(op.hash, 0, sizeof op.hash);
    if (image->bytes > INLINE_IMAGE_BYTES_MAX)
        return send_by_hash(channel, handle, image, log);
    op.source = TALLY_IMAGE_INLINE;
    op.offset = 0;
    op.tail_bytes = (uint32_t)image->bytes;
    return load(channel, &op, image->data, log);
}

CUresult shim_module_on_locked(struct shim_module *module, struct shim_channel *channel)
{
    if (module->devices & shim_device_bit(channel))
        return CUDA_SUCCESS;
    if (!module->library)
        return CUDA_ERROR_INVALID_HANDLE;
    struct shim_module_log log = {0};
    CUresult result = shim_module_send(channel, module->handle, &module->image, NULL, &log);
    if (!result)
        module->devices |= shim_device_bit(channel);
    return result;
}
