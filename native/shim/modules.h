/* Modules and libraries, functions and kernels. To the executor a library is a module and a kernel
 * a function, and here the handles are the same too: a CUkernel may be passed wherever a CUfunction
 * may. A library is for every device: another executor is sent it, under the same handles, when it
 * is first used there. */
#ifndef TALLY_SHIM_MODULES_H
#define TALLY_SHIM_MODULES_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "context.h"
#include "image.h"
#include "tally/locks.h"

#define SHIM_MODULE_BUCKETS 64u

struct shim_function {
    uint64_t handle;
    struct shim_channel *channel; /* where it was first asked for */
    _Atomic uint32_t devices;     /* a bit for each that knows it */
    struct shim_module *module;
    struct shim_function *next;                    /* in its bucket */
    int32_t attributes[TALLY_FUNCTION_ATTRIBUTES]; /* by CUfunction_attribute */
    uint32_t param_count;
    uint32_t param_bytes;
    struct tally_param *params;
    bool padded; /* there are bytes between or behind the parameters */
    char *name;
};

struct shim_module {
    uint64_t handle;
    struct shim_channel *channel;
    struct shim_context *context; /* NULL: a library, which outlives contexts */
    bool library;
    struct shim_image image; /* a library's, while there are several devices; else empty */
    struct tally_mutex lock;
    uint32_t devices GUARDED_BY(lock); /* a bit for each that has it */
    struct shim_function *buckets[SHIM_MODULE_BUCKETS] GUARDED_BY(lock);
    uint64_t *globals
        GUARDED_BY(lock); /* addresses that the table of ranges knows because of this module */
    uint32_t global_count GUARDED_BY(lock), global_capacity GUARDED_BY(lock);
};

/* NULL: not a live function or kernel. Lock-free. */
struct shim_function *shim_function_get(uint64_t handle);
struct shim_module *shim_module_get(uint64_t handle);

/* Where the caller wants compiler output; any field may be empty. */
struct shim_module_log {
    char *info, *error;
    size_t info_bytes, error_bytes;   /* room */
    size_t info_filled, error_filled; /* out */
};

/* Loads an image. `file`: name it so if the executor can read it; may be NULL. */
CUresult shim_module_load(const struct shim_image *image, const struct shim_image_file *file,
                          bool library, struct shim_module_log *log, struct shim_module **out);
CUresult shim_module_unload(struct shim_module *module);

/* The function of that name, the same one each time it is asked for. */
CUresult shim_module_function(struct shim_module *module, const char *name,
                              struct shim_function **out);
/* Sees to it that ops of this channel may name the function. CUDA_ERROR_INVALID_HANDLE: it is
 * another device's. */
CUresult shim_function_on(struct shim_function *function, struct shim_channel *channel);
/* A library's variable is the one on the current context's device. */
CUresult shim_module_global(struct shim_module *module, const char *name, uint64_t *address,
                            uint64_t *bytes);

/* Names of the first `count` kernels of `total`, each with its NUL, one after the other; text is
 * malloc'ed. */
struct shim_names {
    char *text;
    size_t bytes;
    uint32_t count, total;
};
/* At least as many as wanted, if there are. */
CUresult shim_module_names(struct shim_module *module, uint32_t wanted, struct shim_names *names);

#endif
