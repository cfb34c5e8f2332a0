/* Module images: what shape they have, and the PTX or machine code in them. */
#ifndef TALLY_SOFTGPU_IMAGE_H
#define TALLY_SOFTGPU_IMAGE_H

#include <stddef.h>

#include "soft.h"

struct soft_image {
    char *ptx;         /* NUL-terminated, or NULL: then there is machine code */
    size_t ptx_bytes;  /* of fatbins that are to be linked: their modules, one behind the other */
    uint32_t ptx_arch; /* of the fatbin entry; 0: bare PTX */
    uint8_t *elf;      /* dry mode only, or NULL */
    size_t elf_bytes;
    /* Of PTX that is for newer devices than this one: the lowest; 0: there is none. */
    uint32_t refused_arch;
};

/* Copies what is usable out of the image. CUDA_ERROR_INVALID_IMAGE, _NO_BINARY_FOR_GPU, ...; and
 * why, if there is something to say. */
CUresult soft_image_open(const void *data, struct soft_image *image, const char **why);
void soft_image_close(struct soft_image *image);

/* Decompressors: exactly dst_bytes, or false. */
bool soft_lz4(const uint8_t *src, size_t src_bytes, uint8_t *dst, size_t dst_bytes);
bool soft_zstd_known(void);
bool soft_zstd(const uint8_t *src, size_t src_bytes, uint8_t *dst, size_t dst_bytes);

/* Dry mode: what machine code says of its kernels and variables. */
struct soft_code *soft_dry_code(const uint8_t *elf, size_t bytes);
void soft_dry_free(struct soft_code *code);

#endif
