/* Containers: wrapper, fatbin, machine code, PTX text. A container is trusted as far as its own sizes say:
 * whoever passes it has checked that they lie within the bytes that it has. */
#include "image.h"

#include <stdlib.h>
#include <string.h>

#define WRAPPER_MAGIC 0x466243b1u
#define FATBIN_MAGIC 0xba55ed50u
#define ENTRY_PTX 1u
#define ENTRY_ELF 2u
#define FLAG_LZ4 0x2000u
#define FLAG_ZSTD 0x8000u
#define PAYLOAD_MAX (1ull << 30)
#define ARCH 80u /* the device is an sm_80 */

struct wrapper {
    uint32_t magic, version;
    const void *data, *more;
};
struct fatbin {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t files_bytes;
};
struct entry {
    uint16_t kind, version;
    uint32_t header_bytes, payload_bytes, pad0, compressed_bytes, pad1[2], arch, bits, pad2;
    uint64_t flags, pad3, uncompressed_bytes;
};
_Static_assert(sizeof(struct entry) == 64, "layout");

static uint8_t *unpack(const struct entry *entry, const uint8_t *payload, size_t *bytes)
{
    bool packed = entry->flags & (FLAG_LZ4 | FLAG_ZSTD);
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
    else if (entry->flags & FLAG_ZSTD)
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
    struct entry entry;
    const uint8_t *payload;
    bool found;
};

/* Exact or lower architectures first, the highest of them; else the lowest above. */
static bool better(const struct pick *old, uint32_t arch)
{
    if (!old->found)
        return true;
    uint32_t have = old->entry.arch;
    if (arch <= ARCH)
        return have > ARCH || arch > have;
    return have > ARCH && arch < have;
}

static CUresult scan(const uint8_t *data, struct pick *ptx, struct pick *elf)
{
    struct fatbin header;
    memcpy(&header, data, sizeof header);
    if (header.version != 1 || header.header_bytes < sizeof header)
        return CUDA_ERROR_INVALID_IMAGE;
    const uint8_t *at = data + header.header_bytes;
    uint64_t left = header.files_bytes;
    while (left >= sizeof(struct entry)) {
        struct entry entry;
        memcpy(&entry, at, sizeof entry);
        uint64_t bytes = (uint64_t)entry.header_bytes + entry.payload_bytes;
        if (entry.header_bytes < sizeof entry || bytes > left)
            return CUDA_ERROR_INVALID_IMAGE;
        struct pick *pick = entry.kind == ENTRY_PTX ? ptx : entry.kind == ENTRY_ELF ? elf : NULL;
        if (pick && better(pick, entry.arch))
            *pick = (struct pick){entry, at + entry.header_bytes, true};
        at += bytes;
        left -= bytes;
    }
    return CUDA_SUCCESS;
}

static CUresult open_fatbin(const uint8_t *data, struct soft_image *image)
{
    struct pick ptx = {.found = false}, elf = {.found = false};
    CUresult result = scan(data, &ptx, &elf);
    if (result != CUDA_SUCCESS)
        return result;
    bool dry = soft.dry && elf.found; /* machine code says at once what PTX would have to be parsed for */
    if (!ptx.found && !dry)
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    if (!dry) {
        size_t bytes;
        image->ptx = (char *)unpack(&ptx.entry, ptx.payload, &bytes);
        if (!image->ptx)
            return CUDA_ERROR_INVALID_IMAGE;
        image->ptx_bytes = strnlen(image->ptx, bytes);
        image->ptx_arch = ptx.entry.arch;
    }
    if (dry) {
        image->elf = unpack(&elf.entry, elf.payload, &image->elf_bytes);
        if (!image->elf)
            return CUDA_ERROR_INVALID_IMAGE;
    }
    return CUDA_SUCCESS;
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
    image->ptx = malloc(bytes + 1);
    if (!image->ptx)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(image->ptx, text, bytes + 1);
    image->ptx_bytes = bytes;
    return CUDA_SUCCESS;
}

static const char *explain(CUresult result)
{
    if (result == CUDA_ERROR_NO_BINARY_FOR_GPU)
        return "softgpu runs PTX, and this image holds machine code only: have PTX handed to the driver (CuPy: "
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
    if (magic == WRAPPER_MAGIC) {
        struct wrapper wrapper;
        memcpy(&wrapper, data, sizeof wrapper);
        if (wrapper.version < 1 || wrapper.version > 2 || !wrapper.data)
            return CUDA_ERROR_INVALID_IMAGE;
        memcpy(&magic, wrapper.data, sizeof magic);
        result = magic == FATBIN_MAGIC ? open_fatbin(wrapper.data, image) : CUDA_ERROR_INVALID_IMAGE;
    } else if (magic == FATBIN_MAGIC) {
        result = open_fatbin(data, image);
    } else if (memcmp(&magic, "\177ELF", 4) == 0) {
        result = open_elf(data, image);
    } else {
        result = open_ptx(data, image);
    }
    if (result != CUDA_SUCCESS) {
        soft_image_close(image);
        *why = explain(result);
    }
    return result;
}

void soft_image_close(struct soft_image *image)
{
    free(image->ptx);
    free(image->elf);
    *image = (struct soft_image){0};
}
