/* CUresult values with their names and texts: generated/results.c. */
#ifndef TALLY_SHIM_ERRORS_H
#define TALLY_SHIM_ERRORS_H

#include <stdint.h>

struct shim_result {
    int value;
    const char *name;
    const char *text;
};

extern const struct shim_result shim_results[]; /* sorted by value */
extern const uint32_t shim_result_count;

#endif
