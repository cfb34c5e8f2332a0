/* Names of kernels and variables. */
#ifndef TALLY_SHIM_NAMES_H
#define TALLY_SHIM_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tally/cuda.h"

struct shim_module;

/* Not empty, and not too long for a message: that is told on standard error. */
bool shim_name_is_sound(const char *name);

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
