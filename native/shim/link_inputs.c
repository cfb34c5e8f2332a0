#include "link_inputs.h"

#include <ar.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "wire/bundle.h"

#define MACHINE_CUDA 190u /* in an ELF file's e_machine */

static const char too_much[] = "short of memory";

/* ---- the list ------------------------------------------------------------------------------- */

static bool grow(struct shim_link_inputs *inputs)
{
    uint32_t capacity = inputs->capacity ? 2 * inputs->capacity : 8;
    void **fatbins = realloc(inputs->fatbins, capacity * sizeof *fatbins);
    if (fatbins)
        inputs->fatbins = fatbins;
    size_t *bytes = realloc(inputs->bytes, capacity * sizeof *bytes);
    if (bytes)
        inputs->bytes = bytes;
    if (!fatbins || !bytes)
        return false;
    inputs->capacity = capacity;
    return true;
}

/* The fatbin is the list's from now on, whatever the result. */
static CUresult append(struct shim_link_inputs *inputs, void *fatbin, size_t bytes,
                       const char **why)
{
    /* The first one of a bundle is none of these. */
    bool room = inputs->count + 1 < TALLY_BUNDLE_FATBINS_MAX;
    if (!fatbin || !room || (inputs->count == inputs->capacity && !grow(inputs))) {
        free(fatbin);
        *why = room ? too_much : "too many inputs: at most 4095 can be linked";
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    _Static_assert(TALLY_BUNDLE_FATBINS_MAX == 4096, "the text above");
    inputs->fatbins[inputs->count] = fatbin;
    inputs->bytes[inputs->count++] = bytes;
    inputs->text = NULL;
    return CUDA_SUCCESS;
}

static CUresult append_copy(struct shim_link_inputs *inputs, const void *fatbin, size_t bytes,
                            const char **why)
{
    void *copy = malloc(bytes);
    if (copy)
        memcpy(copy, fatbin, bytes);
    return append(inputs, copy, bytes, why);
}

/* ---- PTX ------------------------------------------------------------------------------------ */

/* Behind white space and comments. */
static const char *skip_blank(const char *at)
{
    for (;;) {
        at += strspn(at, " \t\r\n\f\v");
        const char *end;
        if (at[0] == '/' && at[1] == '/')
            end = strchr(at, '\n');
        else if (at[0] == '/' && at[1] == '*' && (end = strstr(at + 2, "*/")))
            end += 2;
        else
            return at;
        if (!end)
            return "";
        at = end;
    }
}

static const char *skip_word(const char *at, const char *word)
{
    at = skip_blank(at);
    size_t bytes = strlen(word);
    return strncmp(at, word, bytes) == 0 ? at + bytes : NULL;
}

/* A number of at most five digits, and what must stand before it. */
static const char *skip_number(const char *at, const char *before, uint32_t *number)
{
    at = at ? skip_word(at, before) : NULL;
    size_t digits = at ? strspn(at, "0123456789") : 0;
    if (digits == 0 || digits > 5)
        return NULL;
    *number = (uint32_t)strtoul(at, NULL, 10);
    return at + digits;
}

/* Every module begins with `.version 9.0` and `.target sm_90`. */
static bool read_head(const char *text, struct tally_fatbin_code *code)
{
    uint32_t major, minor;
    const char *at = skip_word(text, ".version");
    at = skip_number(at, "", &major);
    at = skip_number(at, ".", &minor);
    at = at ? skip_word(at, ".target") : NULL;
    at = skip_number(at, "sm_", &code->architecture);
    if (!at || major > UINT16_MAX || minor > UINT16_MAX)
        return false;
    code->ptx_major = (uint16_t)major;
    code->ptx_minor = (uint16_t)minor;
    return true;
}

/* `text` ends with a NUL. */
static CUresult take_text(struct shim_link_inputs *inputs, const char *text, size_t bytes,
                          uint32_t architecture, const char **why)
{
    struct tally_fatbin_code code = {.kind = TALLY_FATBIN_PTX, .data = text, .bytes = bytes};
    if (!read_head(text, &code)) {
        *why = "no PTX: it does not begin with .version and .target";
        return CUDA_ERROR_INVALID_PTX;
    }
    if (code.architecture > architecture) {
        *why = "its PTX is for later devices than this one";
        return CUDA_ERROR_INVALID_PTX;
    }
    size_t total, at;
    uint8_t *fatbin = tally_fatbin_make(&code, &total, &at);
    CUresult result = append(inputs, fatbin, total, why);
    if (!result) {
        inputs->text = (const char *)fatbin + at;
        inputs->text_bytes = bytes + 1;
    }
    return result;
}

static CUresult take_ptx(struct shim_link_inputs *inputs, const void *data, size_t bytes,
                         uint32_t architecture, const char **why)
{
    bytes = strnlen(data, bytes);
    char *text = calloc(1, bytes + 1); /* a file's has no NUL */
    *why = too_much;
    if (!text)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memcpy(text, data, bytes);
    CUresult result = take_text(inputs, text, bytes, architecture, why);
    free(text);
    return result;
}

/* ---- machine code and fatbins --------------------------------------------------------------- */

/* The architecture that machine code is for; its place depends on the version of the ABI. */
static uint32_t machine_architecture(const Elf64_Ehdr *header)
{
    return header->e_ident[EI_ABIVERSION] >= 8 ? header->e_flags >> 8 & 0xff
                                               : header->e_flags & 0xff;
}

static CUresult take_elf(struct shim_link_inputs *inputs, const void *data, size_t bytes,
                         uint32_t architecture, const char **why)
{
    Elf64_Ehdr header;
    size_t whole = shim_elf_bytes(data, bytes);
    if (whole)
        memcpy(&header, data, sizeof header);
    if (!whole || header.e_machine != MACHINE_CUDA) {
        *why = "no machine code of a GPU";
        return CUDA_ERROR_INVALID_IMAGE;
    }
    struct tally_fatbin_code code = {.kind = TALLY_FATBIN_ELF, .data = data, .bytes = whole};
    code.architecture = machine_architecture(&header);
    if (!tally_machine_code_runs(code.architecture, architecture)) {
        *why = "its machine code is for another device";
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    size_t total, at;
    void *fatbin = tally_fatbin_make(&code, &total, &at);
    return append(inputs, fatbin, total, why);
}

/* What was linked before. */
static CUresult take_bundle(struct shim_link_inputs *inputs, const void *data, size_t bytes,
                            const char **why)
{
    uint32_t count = tally_bundle_count(data, bytes);
    CUresult result = count ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
    *why = "the image is cut short";
    for (uint32_t i = 1; i < count && !result; i++) {
        size_t size;
        const uint8_t *fatbin = tally_bundle_at(data, bytes, i, &size);
        if (tally_fatbin_bytes(fatbin, size) == 0)
            return CUDA_ERROR_INVALID_IMAGE;
        result = append_copy(inputs, fatbin, size, why);
    }
    return result;
}

/* A cubin, and whatever else cuLinkComplete gives as one. */
static CUresult take_cubin(struct shim_link_inputs *inputs, const void *data, size_t bytes,
                           uint32_t architecture, const char **why)
{
    if (tally_is_bundle(data, bytes))
        return take_bundle(inputs, data, bytes, why);
    if (shim_text_bytes(data, bytes))
        return take_ptx(inputs, data, bytes, architecture, why);
    return take_elf(inputs, data, bytes, architecture, why);
}

static CUresult take_fatbin(struct shim_link_inputs *inputs, const void *data, size_t bytes,
                            uint32_t architecture, const char **why)
{
    size_t whole = tally_fatbin_bytes(data, bytes);
    if (!whole) {
        *why = "no fatbin";
        return CUDA_ERROR_INVALID_IMAGE;
    }
    if (!tally_fatbin_runs_on(data, architecture)) {
        *why = "it has no code for this device";
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    return append_copy(inputs, data, whole, why);
}

/* ---- the host's object files and archives of them ------------------------------------------- */

/* Fatbins one behind the other, as the host's linker lays them. */
static CUresult take_fatbins(struct shim_link_inputs *inputs, const uint8_t *data, size_t bytes,
                             const char **why)
{
    CUresult result = CUDA_SUCCESS;
    for (size_t at = 0; at < bytes && !result;) {
        size_t whole = tally_fatbin_bytes(data + at, bytes - at);
        if (!whole)
            break;
        result = append_copy(inputs, data + at, whole, why);
        at += (whole + 7) & ~(size_t)7;
    }
    return result;
}

/* Where nvcc puts device code: that of whole programs, and that which is to be linked. */
static bool has_fatbins(const char *section, size_t room)
{
    static const char *const names[] = {".nv_fatbin", "__nv_relfatbin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i]) < room && strcmp(section, names[i]) == 0)
            return true;
    return false;
}

/* The sections lie within the file: shim_elf_bytes has looked. */
static CUresult take_object(struct shim_link_inputs *inputs, const uint8_t *data, size_t bytes,
                            const char **why)
{
    Elf64_Ehdr header;
    Elf64_Shdr names, section;
    *why = "no object file of the host";
    if (!shim_elf_bytes(data, bytes))
        return CUDA_ERROR_INVALID_IMAGE;
    memcpy(&header, data, sizeof header);
    if (header.e_machine == MACHINE_CUDA || header.e_shstrndx >= header.e_shnum)
        return CUDA_ERROR_INVALID_IMAGE;
    memcpy(&names, data + header.e_shoff + header.e_shstrndx * sizeof names, sizeof names);
    if (names.sh_type != SHT_STRTAB || names.sh_size == 0 ||
        data[names.sh_offset + names.sh_size - 1])
        return CUDA_ERROR_INVALID_IMAGE;
    CUresult result = CUDA_SUCCESS;
    for (unsigned i = 0; i < header.e_shnum && !result; i++) {
        memcpy(&section, data + header.e_shoff + i * sizeof section, sizeof section);
        if (section.sh_type == SHT_PROGBITS && section.sh_name < names.sh_size &&
            has_fatbins((const char *)data + names.sh_offset + section.sh_name,
                        names.sh_size - section.sh_name))
            result = take_fatbins(inputs, data + section.sh_offset, section.sh_size, why);
    }
    return result;
}

/* All members that are object files. */
static CUresult take_library(struct shim_link_inputs *inputs, const uint8_t *data, size_t bytes,
                             const char **why)
{
    *why = "no archive";
    if (bytes < SARMAG || memcmp(data, ARMAG, SARMAG) != 0)
        return CUDA_ERROR_INVALID_IMAGE;
    CUresult result = CUDA_SUCCESS;
    size_t at = SARMAG;
    while (!result && at < bytes && bytes - at >= sizeof(struct ar_hdr)) {
        struct ar_hdr header;
        char digits[sizeof header.ar_size + 1] = {0};
        memcpy(&header, data + at, sizeof header);
        memcpy(digits, header.ar_size, sizeof header.ar_size);
        size_t member = strtoul(digits, NULL, 10);
        at += sizeof header;
        if (memcmp(header.ar_fmag, ARFMAG, sizeof header.ar_fmag) != 0 || member > bytes - at) {
            *why = "the archive is cut short";
            return CUDA_ERROR_INVALID_IMAGE;
        }
        if (member >= SELFMAG && memcmp(data + at, ELFMAG, SELFMAG) == 0)
            result = take_object(inputs, data + at, member, why);
        at += member + member % 2;
    }
    return result;
}

/* ---- all kinds ------------------------------------------------------------------------------ */

static CUresult take(struct shim_link_inputs *inputs, CUjitInputType type, const void *data,
                     size_t bytes, uint32_t architecture, const char **why)
{
    switch (type) {
    case CU_JIT_INPUT_CUBIN:
        return take_cubin(inputs, data, bytes, architecture, why);
    case CU_JIT_INPUT_PTX:
        return take_ptx(inputs, data, bytes, architecture, why);
    case CU_JIT_INPUT_FATBINARY:
        return take_fatbin(inputs, data, bytes, architecture, why);
    case CU_JIT_INPUT_OBJECT:
        return take_object(inputs, data, bytes, why);
    case CU_JIT_INPUT_LIBRARY:
        return take_library(inputs, data, bytes, why);
    default:
        *why = "an unknown kind of input";
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult shim_link_take(struct shim_link_inputs *inputs, CUjitInputType type, const void *data,
                        size_t bytes, uint32_t architecture, const char **why)
{
    uint32_t before = inputs->count;
    CUresult result = take(inputs, type, data, bytes, architecture, why);
    while (result && inputs->count > before)
        free(inputs->fatbins[--inputs->count]);
    return result;
}

CUresult shim_link_image(const struct shim_link_inputs *inputs, void **data, size_t *bytes,
                         bool *owned)
{
    *owned = false;
    if (inputs->count == 1 && inputs->text) {
        *data = (void *)inputs->text;
        *bytes = inputs->text_bytes;
        return CUDA_SUCCESS;
    }
    struct tally_fatbin_header nothing = {
        .magic = TALLY_FATBIN_MAGIC, .version = 1, .header_bytes = sizeof nothing};
    uint32_t count = inputs->count + 1;
    const void **fatbins = calloc(count, sizeof *fatbins);
    size_t *sizes = calloc(count, sizeof *sizes);
    *data = NULL;
    if (fatbins && sizes) {
        fatbins[0] = &nothing; /* what is linked already */
        sizes[0] = sizeof nothing;
        for (uint32_t i = 1; i < count; i++) {
            fatbins[i] = inputs->fatbins[i - 1];
            sizes[i] = inputs->bytes[i - 1];
        }
        *data = tally_bundle_make(fatbins, sizes, count, bytes);
        *owned = *data != NULL;
    }
    free(fatbins);
    free(sizes);
    return *data ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

void shim_link_drop(struct shim_link_inputs *inputs)
{
    for (uint32_t i = 0; i < inputs->count; i++)
        free(inputs->fatbins[i]);
    free(inputs->fatbins);
    free(inputs->bytes);
}
