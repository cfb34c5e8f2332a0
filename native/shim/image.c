#include "image.h"

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mappings.h"
#include "wire/bundle.h"

#define TEXT_BYTES_MAX ((size_t)4 << 30) /* nothing real is larger */
/* How much of a file is held against memory at either end. Read-only sections are what the file
 * says unless somebody rewrote one of them. */
#define COMPARED_BYTES 4096

/* Grows *bytes to reach behind [offset, offset + count). */
static bool reach(size_t *bytes, uint64_t offset, uint64_t count, size_t available)
{
    uint64_t end;
    if (__builtin_add_overflow(offset, count, &end) || end > available)
        return false;
    if (end > *bytes)
        *bytes = end;
    return true;
}

/* The largest extent of headers, sections and segments. */
size_t shim_elf_bytes(const void *at, size_t available)
{
    Elf64_Ehdr header;
    if (available < sizeof header)
        return 0;
    memcpy(&header, at, sizeof header);
    if (memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
        header.e_ident[EI_DATA] != ELFDATA2LSB)
        return 0;
    if ((header.e_shnum && header.e_shentsize != sizeof(Elf64_Shdr)) ||
        (header.e_phnum && header.e_phentsize != sizeof(Elf64_Phdr)))
        return 0;
    size_t bytes = sizeof header;
    if (!reach(&bytes, header.e_shoff, (uint64_t)header.e_shnum * sizeof(Elf64_Shdr), available) ||
        !reach(&bytes, header.e_phoff, (uint64_t)header.e_phnum * sizeof(Elf64_Phdr), available))
        return 0;
    const uint8_t *base = at;
    for (unsigned i = 0; i < header.e_shnum; i++) {
        Elf64_Shdr section;
        memcpy(&section, base + header.e_shoff + i * sizeof section, sizeof section);
        if (section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL &&
            !reach(&bytes, section.sh_offset, section.sh_size, available))
            return 0;
    }
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, base + header.e_phoff + i * sizeof segment, sizeof segment);
        if (!reach(&bytes, segment.p_offset, segment.p_filesz, available))
            return 0;
    }
    return bytes;
}

size_t shim_text_bytes(const void *at, size_t available)
{
    size_t limit = available < TEXT_BYTES_MAX ? available : TEXT_BYTES_MAX;
    const uint8_t *text = at;
    /* PTX starts with white space, a comment or a directive; one look keeps binary garbage out. */
    if (!limit || !(text[0] == '/' || text[0] == '.' || (text[0] >= '\t' && text[0] <= '\r') ||
                    text[0] == ' '))
        return 0;
    const uint8_t *end = memchr(text, 0, limit);
    return end ? (size_t)(end - text) : 0;
}

static uint32_t magic_at(const void *at, size_t available)
{
    uint32_t magic = 0;
    if (available >= sizeof magic)
        memcpy(&magic, at, sizeof magic);
    return magic;
}

/* What cuLinkComplete gives: as many bytes as it says itself. */
static size_t linked_bytes(const void *at, size_t available)
{
    size_t bytes;
    uint32_t count = tally_bundle_count(at, available);
    const uint8_t *last = count ? tally_bundle_at(at, available, count - 1, &bytes) : NULL;
    return last ? (size_t)(last - (const uint8_t *)at) + bytes : 0;
}

/* Anything but a wrapper. */
static size_t bare_bytes(const void *at, size_t available)
{
    if (magic_at(at, available) == TALLY_BUNDLE_MAGIC)
        return linked_bytes(at, available);
    size_t bytes = tally_fatbin_bytes(at, available);
    if (!bytes)
        bytes = shim_elf_bytes(at, available);
    return bytes ? bytes : shim_text_bytes(at, available);
}

/* The wrapper's fatbins, what is linked already first; their number, or 0 where one is none. */
static uint32_t find_fatbins(const struct tally_fatbin_wrapper *wrapper, const void **fatbins,
                             size_t *bytes)
{
    struct shim_mapping mapping;
    size_t available, listed;
    if (!shim_mapping_find(wrapper->fatbins, &mapping, &listed))
        return 0;
    listed /= sizeof *wrapper->fatbins;
    fatbins[0] = wrapper->data;
    for (uint32_t i = 0; i < TALLY_BUNDLE_FATBINS_MAX; i++) {
        bytes[i] = shim_mapping_find(fatbins[i], &mapping, &available)
                       ? tally_fatbin_bytes(fatbins[i], available)
                       : 0;
        if (bytes[i] == 0 || i == listed)
            return 0;
        if (!wrapper->fatbins[i])
            return i + 1;
        fatbins[i + 1] = wrapper->fatbins[i];
    }
    return 0;
}

static CUresult find_bundle(const struct tally_fatbin_wrapper *wrapper, struct shim_image *image)
{
    const void **fatbins = calloc(TALLY_BUNDLE_FATBINS_MAX + 1, sizeof *fatbins);
    size_t *bytes = calloc(TALLY_BUNDLE_FATBINS_MAX + 1, sizeof *bytes);
    CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
    if (fatbins && bytes) {
        uint32_t count = find_fatbins(wrapper, fatbins, bytes);
        *image = (struct shim_image){.owned = true};
        if (count == 0)
            result = CUDA_ERROR_INVALID_IMAGE;
        else if ((image->data = tally_bundle_make(fatbins, bytes, count, &image->bytes)))
            result = CUDA_SUCCESS;
    }
    free(fatbins);
    free(bytes);
    return result;
}

void shim_image_drop(struct shim_image *image)
{
    if (image->owned)
        free((void *)image->data);
}

CUresult shim_image_find(const void *pointer, struct shim_image *image)
{
    struct shim_mapping mapping;
    size_t available;
    if (!shim_mapping_find(pointer, &mapping, &available))
        return CUDA_ERROR_INVALID_IMAGE;
    if (magic_at(pointer, available) == TALLY_FATBIN_WRAPPER_MAGIC) {
        struct tally_fatbin_wrapper wrapper;
        if (available < sizeof wrapper)
            return CUDA_ERROR_INVALID_IMAGE;
        memcpy(&wrapper, pointer, sizeof wrapper);
        if (wrapper.version == 2 && wrapper.fatbins)
            return find_bundle(&wrapper, image);
        pointer = wrapper.data;
        if ((wrapper.version != 1 && wrapper.version != 2) ||
            !shim_mapping_find(pointer, &mapping, &available))
            return CUDA_ERROR_INVALID_IMAGE;
    }
    size_t bytes = bare_bytes(pointer, available);
    *image = (struct shim_image){.data = pointer, .bytes = bytes};
    return bytes ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
}

static bool same_at(int fd, const uint8_t *memory, uint64_t offset, size_t bytes)
{
    uint8_t buffer[COMPARED_BYTES];
    return pread(fd, buffer, bytes, (off_t)offset) == (ssize_t)bytes &&
           memcmp(buffer, memory, bytes) == 0;
}

static bool same_file(const struct shim_image *image, const struct shim_mapping *mapping,
                      uint64_t offset)
{
    int fd = open(mapping->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return false;
    struct stat status;
    size_t compared = image->bytes < COMPARED_BYTES ? image->bytes : COMPARED_BYTES;
    bool same = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
                status.st_ino == mapping->inode && same_at(fd, image->data, offset, compared) &&
                same_at(fd, image->data + image->bytes - compared, offset + image->bytes - compared,
                        compared);
    close(fd);
    return same;
}

bool shim_image_in_file(const struct shim_image *image, struct shim_image_file *file)
{
    struct shim_mapping mapping;
    size_t available;
    uint64_t at = (uintptr_t)image->data;
    if (!shim_mapping_find(image->data, &mapping, &available) || !mapping.path[0] ||
        mapping.writable || mapping.shared || image->bytes > mapping.end - at)
        return false;
    file->offset = mapping.offset + (at - mapping.start);
    memcpy(file->path, mapping.path, sizeof file->path);
    return same_file(image, &mapping, file->offset);
}
