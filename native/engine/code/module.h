/* A loaded module, and the variables in it. */
#ifndef TALLY_ENGINE_MODULE_H
#define TALLY_ENGINE_MODULE_H

#include "engine/ops/message.h"
#include "tally/cuda.h"

struct module {
    CUmodule driver;
    uint8_t hash[32];
    uint32_t refs; /* the handle and its functions; session thread only */
    bool unloaded;
    bool rewritten;      /* has rewritten forms of its kernels */
    struct forms *forms; /* they are in a module of their own (rewriter.c), or will be; or NULL */
};

void modules_init(struct session *session);
/* NULL: there is none. */
struct module *module_find(const struct session *session, uint64_t handle);
void module_put(struct module *module);
/* The driver's module of rewritten forms that is to be unloaded, or NULL. */
CUmodule module_drop_forms(struct session *session, struct module *module);
/* A name in a message: without NUL, of bounded length. */
bool module_read_name(const struct tally_reader *tail, uint32_t name_bytes,
                      char name[TALLY_NAME_BYTES_MAX + 1]);

#endif
