#include "names.h"

#include <stdlib.h>
#include <string.h>

#include "modules.h"
#include "tell.h"

bool shim_name_is_sound(const char *name)
{
    size_t bytes = strnlen(name, TALLY_NAME_BYTES_MAX + 1);
    if (bytes > TALLY_NAME_BYTES_MAX)
        shim_tell("a kernel or a variable cannot be found: its name has more than %u characters",
                  TALLY_NAME_BYTES_MAX);
    return bytes > 0 && bytes <= TALLY_NAME_BYTES_MAX;
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
