/* Modules, functions and globals. */
#include "engine/code/module.h"

#include <stdlib.h>
#include <string.h>

#include "engine/code/rewriter.h"
#include "engine/memory/memory.h"
#include "engine/ops/message.h"
#include "engine/session/fault.h"
#include "engine/session/reply.h"
#include "engine/session/session.h"
#include "engine/session/table.h"
#include "wire/message.h"

void modules_init(struct session *session) { session->modules.kind = TALLY_KIND_MODULE; }

struct module *module_find(const struct session *session, uint64_t handle)
{
    return table_get(&session->modules, handle);
}

void module_put(struct module *module)
{
    if (--module->refs == 0)
        free(module);
}

/* The driver's module of rewritten forms that is to be unloaded, or NULL. */
CUmodule module_drop_forms(struct session *session, struct module *module)
{
    struct forms *forms = module->forms;
    module->forms = NULL;
    return forms ? rewriter_drop(session->engine->rewriter, forms) : NULL;
}

bool module_read_name(const struct tally_reader *tail, uint32_t name_bytes,
                      char name[TALLY_NAME_BYTES_MAX + 1])
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
    struct module *module = module_find(session, op.module);
    CUdeviceptr address = 0;
    size_t bytes = 0;
    CUresult result = CUDA_ERROR_INVALID_HANDLE;
    if (module)
        result = session->driver->cu.cuModuleGetGlobal_v2(&address, &bytes, module->driver, name);
    struct tally_reply_get_global reply = {0};
    if (result == CUDA_SUCCESS) {
        reply.address = address;
        reply.bytes = bytes;
        memory_add_global(session, address, bytes, module);
    }
    session_note(session, result);
    session_reply(session, &op.op, result, &reply, sizeof reply, NULL, 0);
    return true;
}
