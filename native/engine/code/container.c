/* cuModuleLoadData takes a pointer and believes what lies there. What a client sent must be held
 * against its length first. A fatbin wrapper holds addresses of the process that made it: never
 * here. */
#include "engine/code/container.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

static bool within(uint64_t offset, uint64_t bytes, size_t count)
{
    return offset <= count && bytes <= count - offset;
}

static bool elf_is_whole(const uint8_t *bytes, size_t count)
{
    Elf64_Ehdr header;
    if (count < sizeof header)
        return false;
    memcpy(&header, bytes, sizeof header);
    if (header.e_ident[EI_CLASS] != ELFCLASS64 ||
        (header.e_shnum && header.e_shentsize != sizeof(Elf64_Shdr)) ||
        (header.e_phnum && header.e_phentsize != sizeof(Elf64_Phdr)) ||
        !within(header.e_shoff, (uint64_t)header.e_shnum * sizeof(Elf64_Shdr), count) ||
        !within(header.e_phoff, (uint64_t)header.e_phnum * sizeof(Elf64_Phdr), count))
        return false;
    for (uint32_t i = 0; i < header.e_shnum; i++) {
        Elf64_Shdr section;
        memcpy(&section, bytes + header.e_shoff + i * sizeof section, sizeof section);
        if (section.sh_type != SHT_NOBITS && !within(section.sh_offset, section.sh_size, count))
            return false;
    }
    for (uint32_t i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        memcpy(&segment, bytes + header.e_phoff + i * sizeof segment, sizeof segment);
        if (!within(segment.p_offset, segment.p_filesz, count))
            return false;
    }
    return true;
}

static bool bundle_is_whole(const uint8_t *bytes, size_t count)
{
    uint32_t fatbins = tally_bundle_count(bytes, count);
    bool whole = fatbins > 0;
    for (uint32_t i = 0; i < fatbins && whole; i++) {
        size_t size;
        const uint8_t *fatbin = tally_bundle_at(bytes, count, i, &size);
        whole = tally_fatbin_bytes(fatbin, size) != 0;
    }
    return whole;
}

bool container_wrap(const uint8_t *bytes, size_t count, struct container_wrapper *wrapper)
{
    size_t size;
    *wrapper = (struct container_wrapper){.image = bytes};
    if (!tally_is_bundle(bytes, count))
        return true;
    uint32_t fatbins = tally_bundle_count(bytes, count);
    wrapper->list =
        calloc(fatbins, sizeof *wrapper->list); /* one fewer than there are, and a NULL */
    if (!wrapper->list)
        return false;
    for (uint32_t i = 1; i < fatbins; i++)
        wrapper->list[i - 1] = tally_bundle_at(bytes, count, i, &size);
    wrapper->head = (struct tally_fatbin_wrapper){.magic = TALLY_FATBIN_WRAPPER_MAGIC,
                                                  .version = 2,
                                                  .data = tally_bundle_at(bytes, count, 0, &size),
                                                  .fatbins = wrapper->list};
    wrapper->image = &wrapper->head;
    return true;
}

void container_unwrap(struct container_wrapper *wrapper) { free(wrapper->list); }

bool container_is_whole(const uint8_t *bytes, size_t count)
{
    uint32_t magic = 0;
    memcpy(&magic, bytes, count < sizeof magic ? count : sizeof magic);
    if (tally_is_bundle(bytes, count))
        return bundle_is_whole(bytes, count);
    if (magic == TALLY_FATBIN_MAGIC) /* entry by entry the driver stays inside that */
        return tally_fatbin_bytes(bytes, count) != 0;
    if (count >= SELFMAG && memcmp(bytes, ELFMAG, SELFMAG) == 0)
        return elf_is_whole(bytes, count);
    return magic != TALLY_FATBIN_WRAPPER_MAGIC; /* text ends at its NUL */
}
