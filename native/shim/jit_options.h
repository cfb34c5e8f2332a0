/* The options of a compiler that programs give to functions that load and link code. */
#ifndef TALLY_SHIM_JIT_OPTIONS_H
#define TALLY_SHIM_JIT_OPTIONS_H

#include <time.h>

#include "modules.h"
#include "tally/cuda.h"

/* The caller's options: arrays of `count` kinds and values. */
struct shim_jit {
    unsigned int count;
    const CUjit_option *options;
    void **values;
    struct shim_module_log log;
    struct timespec began;
};

/* Takes from the arrays the options that matter here: where logs go, which become empty texts. The
 * rest tunes a compiler that is not ours. CUDA_ERROR_INVALID_VALUE: no arrays, or an option that
 * there is not. */
CUresult shim_jit_read(struct shim_jit *jit);

/* Adds a line to the log of errors, as far as there is room. */
__attribute__((format(printf, 2, 3))) void shim_jit_tell(struct shim_jit *jit, const char *format,
                                                         ...);

/* Writes what CUDA tells in the values, also of a call that failed: how much of each buffer was
 * filled, and the time since the options were read. */
void shim_jit_write(struct shim_jit *jit);

#endif
