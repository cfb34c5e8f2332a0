/* Module images as programs pass them: a pointer without a size, in one of six shapes. */
#ifndef TALLY_SHIM_IMAGE_H
#define TALLY_SHIM_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tally/cuda.h"
#include "tally/protocol.h"

/* Pure: the size of what starts at `at`, of which at most `available` bytes may be read; 0 where it
 * is no such thing or does not fit. */
size_t shim_elf_bytes(const void *at, size_t available);  /* a 64-bit little-endian ELF file */
size_t shim_text_bytes(const void *at, size_t available); /* PTX, without its NUL */

/* An image in this process' memory. */
struct shim_image {
    const uint8_t *data;
    size_t bytes;
    bool lasting; /* stays there while the module lives: the program has promised it */
    bool owned;   /* made here: shim_image_drop frees it */
};

/* Finds the image that a program means by a pointer: wrapper, fatbin, ELF, text, or what
 * cuLinkComplete gave it, a bundle (wire/bundle.h). A wrapper of fatbins that are to be linked
 * (nvcc -rdc=true) becomes a bundle, too. Reads only memory that is mapped.
 * CUDA_ERROR_INVALID_IMAGE for anything else, CUDA_ERROR_OUT_OF_MEMORY. */
CUresult shim_image_find(const void *pointer, struct shim_image *image);
void shim_image_drop(struct shim_image *image);

/* The file that a range of memory is a private, unwritable mapping of. */
struct shim_image_file {
    char path[TALLY_PATH_BYTES_MAX];
    uint64_t offset;
};

/* True if the image lies in a file that still has that content, so that its name can be sent
 * instead. */
bool shim_image_in_file(const struct shim_image *image, struct shim_image_file *file);

#endif
