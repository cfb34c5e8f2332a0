/* Containers: wrapper, fatbin, machine code, PTX text. A container is trusted as far as its own
 * sizes say: whoever passes it has checked that they lie within the bytes that it has. */
#include "image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/fatbin.h"

#define FATBINS_MAX 65536u
#define PAYLOAD_MAX (1ull << 30)
#define ARCH 80u /* the device is an sm_80 */

static uint8_t *unpack(const struct tally_fatbin_entry *entry, const uint8_t *payload,
                       size_t *bytes)
{
    bool packed = entry->flags & (TALLY_FATBIN_LZ4 | TALLY_FATBIN_ZSTD);
    uint64_t size = packed ? entry->uncompressed_bytes : entry->payload_bytes;
    uint64_t from = packed ? entry->compressed_bytes : size;
    if (size > PAYLOAD_MAX || from > entry->payload_bytes)
        return NULL;
    uint8_t *out = malloc(size + 1);
    if (!out)
        return NULL;
    bool good = true;
    if (!packed)
        memcpy(out, payload, size);
    else if (entry->flags & TALLY_FATBIN_ZSTD)
        good = soft_zstd(payload, from, out, size);
    else
        good = soft_lz4(payload, from, out, size);
    if (!good) {
        free(out);
        return NULL;
    }
    out[size] = 0;
    *bytes = size;
    return out;
}

struct pick {
    struct tally_fatbin_entry entry;
    const uint8_t *payload;
    bool found;
};

/* PTX is compiled for its own architecture and later ones: the highest that is not above the
 * device's. Of what is above it the lowest is remembered, to be named. */
static bool better_ptx(struct soft_image *image, const struct pick *old, uint32_t arch)
{
    if (arch <= ARCH)
        return !old->found || arch > old->entry.architecture;
    if (image->refused_arch == 0 || arch < image->refused_arch)
        image->refused_arch = arch;
    return false;
}

/* Dry mode: exact or lower architectures first, the highest of them; else the lowest above. */
static bool better_elf(const struct pick *old, uint32_t arch)
{
    if (!old->found)
        return true;
    uint32_t have = old->entry.architecture;
    if (arch <= ARCH)
        return have > ARCH || arch > have;
    return have > ARCH && arch < have;
}

static CUresult scan(const void *data, struct soft_image *image, struct pick *ptx, struct pick *elf)
{
    struct tally_fatbin_reader reader;
    struct pick pick = {.found = true};
    if (!tally_fatbin_open(&reader, data))
        return CUDA_ERROR_INVALID_IMAGE;
    while (tally_fatbin_next(&reader, &pick.entry, &pick.payload)) {
        uint32_t arch = pick.entry.architecture;
        if (pick.entry.kind == TALLY_FATBIN_PTX && better_ptx(image, ptx, arch))
            *ptx = pick;
        else if (pick.entry.kind == TALLY_FATBIN_ELF && better_elf(elf, arch))
            *elf = pick;
    }
    return reader.broken ? CUDA_ERROR_INVALID_IMAGE : CUDA_SUCCESS;
}

static CUresult open_fatbin(const void *data, struct soft_image *image)
{
    struct pick ptx = {.found = false}, elf = {.found = false};
    CUresult result = scan(data, image, &ptx, &elf);
    if (result != CUDA_SUCCESS)
        return result;
    /* Machine code says at once what PTX would have to be parsed for. */
    bool dry = soft.dry && elf.found;
    if (!ptx.found && !dry)
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    if (!dry) {
        size_t bytes;
        image->ptx = (char *)unpack(&ptx.entry, ptx.payload, &bytes);
        if (!image->ptx)
            return CUDA_ERROR_INVALID_IMAGE;
        image->ptx_bytes = strnlen(image->ptx, bytes);
        image->ptx_arch = ptx.entry.architecture;
    }
    if (dry) {
        image->elf = unpack(&elf.entry, elf.payload, &image->elf_bytes);
        if (!image->elf)
            return CUDA_ERROR_INVALID_IMAGE;
    }
    return CUDA_SUCCESS;
}

/* One module behind the others; *arch becomes the highest of them. */
static CUresult append_ptx(struct soft_image *image, const struct pick *ptx)
{
    size_t bytes;
    char *text = (char *)unpack(&ptx->entry, ptx->payload, &bytes);
    if (!text)
        return CUDA_ERROR_INVALID_IMAGE;
    bytes = strnlen(text, bytes);
    char *all = bytes > PAYLOAD_MAX - image->ptx_bytes
                    ? NULL
                    : realloc(image->ptx, image->ptx_bytes + bytes + 2);
    if (all) {
        memcpy(all + image->ptx_bytes, text, bytes);
        memcpy(all + image->ptx_bytes + bytes, "\n", 2);
        image->ptx = all;
        image->ptx_bytes += bytes + 1;
        if (ptx->entry.architecture > image->ptx_arch)
            image->ptx_arch = ptx->entry.architecture;
    }
    free(text);
    return all ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

/* What is not linked yet: the PTX of each fatbin that has any for this device. The device runtime's
 * own library is among them, as machine code and as PTX for the newest devices. */
static CUresult open_list(const void *const *fatbins, struct soft_image *image)
{
    for (uint32_t i = 0; fatbins[i]; i++) {
        struct pick ptx = {.found = false}, elf = {.found = false};
        uint32_t magic = 0;
        memcpy(&magic, fatbins[i], sizeof magic);
        if (magic != TALLY_FATBIN_MAGIC || i == FATBINS_MAX)
            return CUDA_ERROR_INVALID_IMAGE;
        CUresult result = scan(fatbins[i], image, &ptx, &elf);
        if (result == CUDA_SUCCESS && ptx.found)
            result = append_ptx(image, &ptx);
        if (result != CUDA_SUCCESS)
            return result;
    }
    return image->ptx ? CUDA_SUCCESS : CUDA_ERROR_NO_BINARY_FOR_GPU;
}

static CUresult open_wrapper(const void *data, struct soft_image *image)
{
    struct tally_fatbin_wrapper wrapper;
    memcpy(&wrapper, data, sizeof wrapper);
    if (wrapper.version < 1 || wrapper.version > 2 || !wrapper.data)
        return CUDA_ERROR_INVALID_IMAGE;
    uint32_t magic;
    memcpy(&magic, wrapper.data, sizeof magic);
    CUresult result =
        magic == TALLY_FATBIN_MAGIC ? open_fatbin(wrapper.data, image) : CUDA_ERROR_INVALID_IMAGE;
    if (result == CUDA_ERROR_NO_BINARY_FOR_GPU && wrapper.version == 2 && wrapper.fatbins)
        result = open_list(wrapper.fatbins, image);
    return result;
}

static uint64_t read_number(const uint8_t *data, size_t offset, size_t bytes)
{
    uint64_t value = 0;
    memcpy(&value, data + offset, bytes);
    return value;
}

/* ELF64's largest extent of header tables, sections and segments. */
static CUresult open_elf(const uint8_t *data, struct soft_image *image)
{
    if (!soft.dry)
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    if (data[4] != 2 || data[5] != 1)
        return CUDA_ERROR_INVALID_IMAGE;
    uint64_t sections = read_number(data, 40, 8), section_bytes = read_number(data, 58, 2);
    uint64_t count = read_number(data, 60, 2), end = sections + section_bytes * count;
    if (sections > PAYLOAD_MAX || section_bytes < 64)
        return CUDA_ERROR_INVALID_IMAGE;
    for (uint64_t i = 0; i < count; i++) {
        const uint8_t *section = data + sections + i * section_bytes;
        uint64_t extent = read_number(section, 24, 8) + read_number(section, 32, 8);
        bool in_file = read_number(section, 4, 4) != 8; /* SHT_NOBITS */
        if (in_file && extent > end)
            end = extent;
    }
    if (end > PAYLOAD_MAX)
        return CUDA_ERROR_INVALID_IMAGE;
    image->elf = malloc(end);
    if (!image->elf)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(image->elf, data, end);
    image->elf_bytes = end;
    return CUDA_SUCCESS;
}

/* The number in `.target sm_90a`, or 0. */
static uint32_t target_of(const char *text)
{
    static const char directive[] = ".target", prefix[] = "sm_";
    const char *at = strstr(text, directive);
    if (!at)
        return 0;
    at += sizeof directive - 1;
    at += strspn(at, " \t");
    if (strncmp(at, prefix, sizeof prefix - 1) != 0)
        return 0;
    return (uint32_t)strtoul(at + sizeof prefix - 1, NULL, 10);
}

static CUresult open_ptx(const char *text, struct soft_image *image)
{
    size_t bytes = 0;
    for (; text[bytes]; bytes++) {
        unsigned char c = (unsigned char)text[bytes];
        if (c < ' ' && c != '\n' && c != '\t' && c != '\r' && c != '\f' && c != '\v')
            return CUDA_ERROR_INVALID_IMAGE;
    }
    if (!strstr(text, ".version")) /* not taken for PTX at all */
        return CUDA_ERROR_INVALID_IMAGE;
    uint32_t arch = target_of(text);
    if (arch > ARCH) {
        image->refused_arch = arch;
        return CUDA_ERROR_INVALID_PTX; /* the JIT is asked, and refuses */
    }
    image->ptx = malloc(bytes + 1);
    if (!image->ptx)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(image->ptx, text, bytes + 1);
    image->ptx_bytes = bytes;
    return CUDA_SUCCESS;
}

/* *why lasts as long as the thread takes to look at it. */
static const char *explain(CUresult result, uint32_t refused_arch)
{
    static _Thread_local char text[160];
    if (refused_arch != 0 &&
        (result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_INVALID_PTX)) {
        snprintf(text, sizeof text,
                 "its PTX is for compute capability %u.%u and later, and this device has %u.%u",
                 refused_arch / 10, refused_arch % 10, ARCH / 10, ARCH % 10);
        return text;
    }
    if (result == CUDA_ERROR_NO_BINARY_FOR_GPU)
        return "softgpu runs PTX, and this image holds machine code only: have PTX handed to the "
               "driver (CuPy: "
               "CUPY_COMPILE_WITH_PTX=1; nvcc: -gencode arch=compute_80,code=compute_80)";
    if (result == CUDA_ERROR_INVALID_IMAGE && !soft_zstd_known())
        return "softgpu: the image may be packed with zstd, and this machine has no libzstd.so.1";
    return NULL;
}

CUresult soft_image_open(const void *data, struct soft_image *image, const char **why)
{
    *why = NULL;
    *image = (struct soft_image){0};
    uint32_t magic = 0;
    memcpy(&magic, data, strnlen(data, 4) < 4 ? strnlen(data, 4) : 4);
    CUresult result;
    if (magic == TALLY_FATBIN_WRAPPER_MAGIC) {
        result = open_wrapper(data, image);
    } else if (magic == TALLY_FATBIN_MAGIC) {
        result = open_fatbin(data, image);
    } else if (memcmp(&magic, "\177ELF", 4) == 0) {
        result = open_elf(data, image);
    } else {
        result = open_ptx(data, image);
    }
    if (result != CUDA_SUCCESS) {
        *why = explain(result, image->refused_arch);
        soft_image_close(image);
    }
    return result;
}

void soft_image_close(struct soft_image *image)
{
    free(image->ptx);
    free(image->elf);
    *image = (struct soft_image){0};
}
