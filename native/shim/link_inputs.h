/* What a program gives to the linker, as the fatbins of a bundle (wire/bundle.h). */
#ifndef TALLY_SHIM_LINK_INPUTS_H
#define TALLY_SHIM_LINK_INPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tally/cuda.h"

/* Zeroed: none yet. */
struct shim_link_inputs {
    void **fatbins; /* malloc'ed, each one too */
    size_t *bytes;
    uint32_t count, capacity;
    const char *text; /* PTX of the last one, with its NUL, if it came as text; inside its fatbin */
    size_t text_bytes;
};

/* Takes a copy of an input. `architecture`: the device's, 90 for compute capability 9.0.
 * CUDA_ERROR_INVALID_IMAGE, INVALID_PTX and NO_BINARY_FOR_GPU as cuLinkAddData, and OUT_OF_MEMORY:
 * *why says why, in text that lasts. Inputs that were taken before stay. */
CUresult shim_link_take(struct shim_link_inputs *inputs, CUjitInputType type, const void *data,
                        size_t bytes, uint32_t architecture, const char **why);

/* All of them in order, as what the functions that load modules take: the text of a single one,
 * else a bundle. *data is the inputs' (*owned false) or malloc'ed. CUDA_ERROR_OUT_OF_MEMORY. */
CUresult shim_link_image(const struct shim_link_inputs *inputs, void **data, size_t *bytes,
                         bool *owned);

void shim_link_drop(struct shim_link_inputs *inputs);

#endif
