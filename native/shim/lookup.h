/* cuGetProcAddress's table: generated/symbols.c. */
#ifndef TALLY_SHIM_LOOKUP_H
#define TALLY_SHIM_LOOKUP_H

#include <stdint.h>

#include "tally/cuda.h"

struct shim_symbol {
    const char *base;
    uint16_t introduced; /* CUDA version since which the base name means this symbol */
    uint16_t per_thread;
    void (*function)(void);
};

extern const struct shim_symbol shim_symbols[]; /* sorted by base, per_thread, introduced */
extern const uint32_t shim_symbol_count;

#endif
