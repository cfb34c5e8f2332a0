/* Functions and kernels. To the executor a kernel is a function, and here the handles are the same
 * too: a CUkernel may be passed wherever a CUfunction may. A module has its functions in its
 * buckets, under its lock, and they go with it. */
#ifndef TALLY_SHIM_FUNCTIONS_H
#define TALLY_SHIM_FUNCTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"

struct shim_module;

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

/* NULL: not a live function or kernel. Lock-free. */
struct shim_function *shim_function_get(uint64_t handle);

/* The function of that name, the same one each time it is asked for. */
CUresult shim_module_function(struct shim_module *module, const char *name,
                              struct shim_function **out);
/* Sees to it that ops of this channel may name the function. CUDA_ERROR_INVALID_HANDLE: it is
 * another device's. */
CUresult shim_function_on(struct shim_function *function, struct shim_channel *channel);

/* Frees the functions of a module that nobody else has any more. */
void shim_functions_release(struct shim_module *module);

#endif
