/* Modules, the kernels in them, and libraries, which are modules under another name. */
#ifndef TALLY_SOFTGPU_MODULE_H
#define TALLY_SOFTGPU_MODULE_H

#include "soft.h"

struct soft_module;

struct soft_function {
    struct soft_object object;
    struct soft_module *module;
    const struct soft_kernel *kernel;
    uint32_t dynamic_shared_max; /* CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
    int32_t carveout;
    int32_t cache_config;
};

struct soft_library {
    struct soft_object object;
    struct soft_module *module;
};

struct soft_module {
    struct soft_object object;
    struct soft_tenant *tenant;
    struct soft_library *library; /* NULL: loaded as a module */
    const struct soft_code *code; /* the compiler's, released with the module */
    /* Dry: made from machine code's symbols, ends with the module. */
    bool own_code;
    uint64_t globals;                /* device address of this instance's variables; 0: none */
    struct soft_function *functions; /* one per kernel of code */
    uint32_t pins;                   /* threads that use the code without the lock */
    bool unloaded;                   /* free it when it is pinned no more */
    struct soft_module *next;        /* of soft.unloaded */
};

struct soft_log {
    char *error, *info;
    size_t error_bytes, info_bytes;
};

/* Loads an image of any shape for the call's tenant. Without the lock; takes seconds where PTX is
 * compiled. */
CUresult soft_module_load(struct soft_call *call, const void *image, const struct soft_log *log,
                          struct soft_module **module);
/* Under the lock: frees it with its functions. Its device memory stays, see soft_module_unload. */
void soft_module_free(struct soft_module *module);
/* Under the lock: its code stays until it is unpinned. */
void soft_module_pin(struct soft_module *module);
void soft_module_unpin(struct soft_module *module);
/* Without the lock: tells the compiler of the code of modules that were freed. */
void soft_module_release(void);
/* Under the lock, which it lets go of meanwhile: waits for work so far, then frees the module and
 * its memory. */
void soft_module_unload(struct soft_tenant *tenant, struct soft_module *module);

#endif
