/* Dry mode: machine code's own account of its kernels and variables, from the ELF's sections and
 * symbols (docs: NVIDIA's cuda-binary-utilities, and the layouts that nvdisasm prints). Nothing of
 * it is run, and in dry mode nothing else is (api_launch.c). */
#include <stdlib.h>
#include <string.h>

#include "image.h"

#define SHT_SYMTAB 2
#define SHT_NOBITS 8
#define STT_OBJECT 1
#define STT_FUNC 2
#define INFO_SIZED 4     /* .nv.info format: 16-bit length, then data */
#define INFO_KPARAM 0x17 /* index, ordinal, offset, size << 18 | ... */
#define INFO_MAX_THREADS 0x05
#define REGISTERS_GUESS 32
#define PARAMS_MAX 1024u

struct section {
    uint32_t name, type;
    uint64_t flags, address, offset, bytes;
    uint32_t link, info;
    uint64_t align, entry_bytes;
};
struct symbol {
    uint32_t name;
    uint8_t info, other;
    uint16_t section;
    uint64_t value, bytes;
};
_Static_assert(sizeof(struct section) == 64 && sizeof(struct symbol) == 24, "layout");

struct elf {
    const uint8_t *data;
    size_t bytes;
    const uint8_t *sections;
    uint32_t section_count;
    const char *names;
    uint64_t name_bytes;
};

/* A code, and its arrays as what they are: to be written and freed. */
struct dry {
    struct soft_code code;
    struct soft_kernel *kernels;
    struct soft_global *globals;
    /* Of the variables' initial bytes, while the ELF is there; NULL: zeros. */
    const uint8_t **sources;
    uint8_t *image;
};

static bool section_get(const struct elf *elf, uint32_t index, struct section *section)
{
    if (index >= elf->section_count)
        return false;
    memcpy(section, elf->sections + (size_t)index * sizeof *section, sizeof *section);
    return section->type == SHT_NOBITS ||
           (section->offset <= elf->bytes && section->bytes <= elf->bytes - section->offset);
}

static const char *text_at(const char *table, uint64_t bytes, uint32_t offset)
{
    return offset < bytes && memchr(table + offset, 0, bytes - offset) ? table + offset : "";
}

static bool elf_open(const uint8_t *data, size_t bytes, struct elf *elf)
{
    uint64_t offset;
    uint16_t entry, count, names;
    struct section section;
    *elf = (struct elf){.data = data, .bytes = bytes};
    if (bytes < 64 || memcmp(data, "\177ELF\2\1", 6) != 0)
        return false;
    memcpy(&offset, data + 40, 8);
    memcpy(&entry, data + 58, 2);
    memcpy(&count, data + 60, 2);
    memcpy(&names, data + 62, 2);
    if (entry != sizeof section || offset > bytes ||
        (uint64_t)count * sizeof section > bytes - offset)
        return false;
    elf->sections = data + offset;
    elf->section_count = count;
    if (!section_get(elf, names, &section) || section.type == SHT_NOBITS)
        return false;
    elf->names = (const char *)data + section.offset;
    elf->name_bytes = section.bytes;
    return true;
}

/* The section named prefix + name. */
static bool section_find(const struct elf *elf, const char *prefix, const char *name,
                         struct section *section)
{
    size_t length = strlen(prefix);
    for (uint32_t i = 0; i < elf->section_count; i++) {
        if (!section_get(elf, i, section))
            continue;
        const char *text = text_at(elf->names, elf->name_bytes, section->name);
        if (strncmp(text, prefix, length) == 0 && strcmp(text + length, name) == 0)
            return true;
    }
    return false;
}

static void read_param(struct soft_kernel *kernel, const uint8_t *data)
{
    uint16_t ordinal, offset;
    uint32_t packed;
    memcpy(&ordinal, data + 4, 2);
    memcpy(&offset, data + 6, 2);
    memcpy(&packed, data + 8, 4);
    uint32_t bytes = packed >> 18;
    if (ordinal >= PARAMS_MAX)
        return;
    if (ordinal >= kernel->param_count) {
        struct soft_param *grown = realloc((void *)kernel->params, (ordinal + 1u) * sizeof *grown);
        if (!grown)
            return;
        memset(grown + kernel->param_count, 0,
               (ordinal + 1u - kernel->param_count) * sizeof *grown);
        kernel->params = grown;
        kernel->param_count = ordinal + 1u;
    }
    ((struct soft_param *)kernel->params)[ordinal] = (struct soft_param){offset, bytes};
    if (offset + bytes > kernel->param_bytes)
        kernel->param_bytes = offset + bytes;
}

static void read_info(const struct elf *elf, const struct section *section,
                      struct soft_kernel *kernel)
{
    const uint8_t *at = elf->data + section->offset, *end = at + section->bytes;
    while (end - at >= 4) {
        uint8_t format = at[0], attribute = at[1];
        uint16_t bytes = 0;
        memcpy(&bytes, at + 2, 2);
        at += 4;
        if (format != INFO_SIZED)
            continue; /* its value was in those four bytes */
        if (bytes > end - at)
            return;
        if (attribute == INFO_KPARAM && bytes == 12)
            read_param(kernel, at);
        if (attribute == INFO_MAX_THREADS && bytes == 12) {
            uint32_t size[3];
            memcpy(size, at, sizeof size);
            uint64_t threads = (uint64_t)size[0] * size[1] * size[2];
            if (threads > 0 && threads <= 1024)
                kernel->max_threads = (uint32_t)threads;
        }
        at += bytes;
    }
}

static bool add_kernel(const struct elf *elf, struct dry *dry, const char *name)
{
    struct soft_kernel *grown = realloc(dry->kernels, (dry->code.kernel_count + 1) * sizeof *grown);
    if (!grown)
        return false;
    dry->code.kernels = dry->kernels = grown;
    struct soft_kernel *kernel = &grown[dry->code.kernel_count];
    *kernel = (struct soft_kernel){
        .name = strdup(name), .max_threads = 1024, .registers = REGISTERS_GUESS, .ptx_version = 80};
    if (!kernel->name)
        return false;
    dry->code.kernel_count++;
    struct section section;
    if (section_find(elf, ".nv.info.", name, &section) && section.type != SHT_NOBITS)
        read_info(elf, &section, kernel);
    if (section_find(elf, ".nv.shared.", name, &section) && section.bytes < SOFT_SHARED_MAX)
        kernel->static_shared_bytes = (uint32_t)section.bytes;
    return true;
}

/* initial: its bytes in the ELF; NULL: zeros. */
static bool add_global(struct dry *dry, const char *name, const uint8_t *initial, uint64_t bytes,
                       bool is_const)
{
    if (!bytes || bytes > TALLY_TENANT_BYTES || dry->code.globals_bytes > TALLY_TENANT_BYTES)
        return true;
    const uint8_t **sources = realloc(dry->sources, (dry->code.global_count + 1) * sizeof *sources);
    if (!sources)
        return false;
    dry->sources = sources;
    sources[dry->code.global_count] = initial;
    struct soft_global *grown = realloc(dry->globals, (dry->code.global_count + 1) * sizeof *grown);
    if (!grown)
        return false;
    dry->code.globals = dry->globals = grown;
    struct soft_global *global = &grown[dry->code.global_count];
    *global = (struct soft_global){.name = strdup(name),
                                   .offset = dry->code.globals_bytes,
                                   .bytes = bytes,
                                   .is_const = is_const};
    if (!global->name)
        return false;
    dry->code.global_count++;
    dry->code.globals_bytes += (bytes + 255) & ~255ull;
    return true;
}

/* Where the symbol's bytes are; NULL: they are zeros. */
static const uint8_t *initial_bytes(const struct elf *elf, const struct section *home,
                                    const struct symbol *symbol)
{
    bool inside = home->type != SHT_NOBITS && symbol->value <= home->bytes &&
                  symbol->bytes <= home->bytes - symbol->value;
    return inside ? elf->data + home->offset + symbol->value : NULL;
}

static bool add_symbol(const struct elf *elf, struct dry *dry, const struct symbol *symbol,
                       const char *name)
{
    struct section section;
    if (!*name || !section_get(elf, symbol->section, &section))
        return true;
    const char *home = text_at(elf->names, elf->name_bytes, section.name);
    switch (symbol->info & 15) {
    case STT_FUNC: /* a kernel has parameters' constant bank of its own; device functions do not */
        if (strncmp(home, ".text.", 6) == 0 && strcmp(home + 6, name) == 0 &&
            section_find(elf, ".nv.constant0.", name, &section))
            return add_kernel(elf, dry, name);
        return true;
    case STT_OBJECT:
        if (strncmp(home, ".nv.global", 10) == 0 || strcmp(home, ".nv.constant3") == 0)
            return add_global(dry, name, initial_bytes(elf, &section, symbol), symbol->bytes,
                              home[4] == 'c');
        return true;
    default:
        return true;
    }
}

/* Variables without initial values take no room here, however large they are. */
static bool make_image(struct dry *dry)
{
    bool any = false;
    for (uint32_t i = 0; i < dry->code.global_count; i++)
        any |= dry->sources[i] != NULL;
    if (!any)
        return true;
    dry->code.globals_image = dry->image = calloc(1, dry->code.globals_bytes);
    dry->code.image_bytes = dry->code.globals_bytes;
    if (!dry->image)
        return false;
    for (uint32_t i = 0; i < dry->code.global_count; i++)
        if (dry->sources[i])
            memcpy(dry->image + dry->globals[i].offset, dry->sources[i], dry->globals[i].bytes);
    return true;
}

struct soft_code *soft_dry_code(const uint8_t *data, size_t bytes)
{
    struct elf elf;
    struct section table, strings;
    if (!elf_open(data, bytes, &elf))
        return NULL;
    struct dry *dry = calloc(1, sizeof *dry);
    bool good = dry != NULL;
    for (uint32_t i = 0; good && i < elf.section_count; i++) {
        if (!section_get(&elf, i, &table) || table.type != SHT_SYMTAB ||
            !section_get(&elf, table.link, &strings) || strings.type == SHT_NOBITS)
            continue;
        for (uint64_t at = 0; good && at + sizeof(struct symbol) <= table.bytes;
             at += sizeof(struct symbol)) {
            struct symbol symbol;
            memcpy(&symbol, data + table.offset + at, sizeof symbol);
            const char *name =
                text_at((const char *)data + strings.offset, strings.bytes, symbol.name);
            good = add_symbol(&elf, dry, &symbol, name);
        }
    }
    good = good && make_image(dry);
    if (!good && dry)
        soft_dry_free(&dry->code);
    return good ? &dry->code : NULL;
}

void soft_dry_free(struct soft_code *code)
{
    struct dry *dry = (struct dry *)code;
    for (uint32_t i = 0; i < code->kernel_count; i++) {
        free((void *)dry->kernels[i].name);
        free((void *)dry->kernels[i].params);
    }
    for (uint32_t i = 0; i < code->global_count; i++)
        free((void *)dry->globals[i].name);
    free(dry->kernels);
    free(dry->globals);
    free(dry->sources);
    free(dry->image);
    free(dry);
}
