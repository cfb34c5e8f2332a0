#include "wire/fatbin.h"

#include <stdlib.h>
#include <string.h>

/* As fatbinary(1) of CUDA 9 to 13 writes them. */
#define VERSION 0x0101u
#define FLAGS 0x11u /* 64 bits, Linux; not compressed */

struct entry {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t payload_bytes; /* padded to 8 */
    uint32_t compressed_bytes, options_at;
    uint16_t ptx_minor, ptx_major;
    uint32_t architecture, name_at, name_bytes;
    uint64_t flags, reserved, uncompressed_bytes;
};
_Static_assert(sizeof(struct entry) == 64, "layout");

/* Options of the compiler, behind the header of a PTX entry. This one is nvcc's for `-rdc=true`:
 * the driver compiles the PTX to code that can be linked, and does not miss what other inputs
 * define. */
struct options {
    uint32_t at, bytes;
    char text[24];
};
static const struct options relocatable = {sizeof(struct entry) + 8, 16, "--compile-only  "};

void *tally_fatbin_make(const struct tally_fatbin_code *code, size_t *total, size_t *code_at)
{
    size_t options = code->kind == TALLY_FATBIN_PTX ? sizeof relocatable : 0;
    size_t payload = (code->bytes + 1 + 7) & ~(size_t)7;
    struct entry entry = {
        .kind = (uint16_t)code->kind,
        .version = VERSION,
        .header_bytes = (uint32_t)(sizeof entry + options),
        .payload_bytes = payload,
        .options_at = options ? sizeof entry : 0,
        .ptx_minor = code->ptx_minor,
        .ptx_major = code->ptx_major,
        .architecture = code->architecture,
        .flags = FLAGS,
    };
    struct tally_fatbin_header header = {
        .magic = TALLY_FATBIN_MAGIC,
        .version = 1,
        .header_bytes = sizeof header,
        .payload_bytes = entry.header_bytes + payload,
    };
    *code_at = sizeof header + entry.header_bytes;
    *total = *code_at + payload;
    uint8_t *fatbin = calloc(1, *total);
    if (!fatbin)
        return NULL;
    memcpy(fatbin, &header, sizeof header);
    memcpy(fatbin + sizeof header, &entry, sizeof entry);
    memcpy(fatbin + sizeof header + sizeof entry, &relocatable, options);
    memcpy(fatbin + *code_at, code->data, code->bytes);
    return fatbin;
}

bool tally_fatbin_runs_on(const void *fatbin, size_t bytes, uint32_t architecture)
{
    struct tally_fatbin_header header;
    memcpy(&header, fatbin, sizeof header);
    const uint8_t *at = fatbin;
    for (size_t offset = header.header_bytes;
         offset <= bytes && bytes - offset >= sizeof(struct entry);) {
        struct entry entry;
        memcpy(&entry, at + offset, sizeof entry);
        size_t left = bytes - offset;
        if (entry.header_bytes < sizeof entry || entry.header_bytes > left ||
            entry.payload_bytes > left - entry.header_bytes)
            return false;
        if (entry.kind == TALLY_FATBIN_PTX
                ? entry.architecture <= architecture
                : entry.kind == TALLY_FATBIN_ELF &&
                      tally_machine_code_runs(entry.architecture, architecture))
            return true;
        offset += entry.header_bytes + entry.payload_bytes;
    }
    return false;
}
