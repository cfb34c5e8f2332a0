#include "wire/fatbin.h"

#include <stdlib.h>
#include <string.h>

#define VERSION 0x0101u /* of an entry */
#define FLAGS 0x11u     /* 64 bits, Linux; not compressed */

/* Nothing real is larger; above it a length field is garbage. */
#define BYTES_MAX ((uint64_t)4 << 30)

_Static_assert(sizeof(struct tally_fatbin_header) == 16, "layout");
_Static_assert(sizeof(struct tally_fatbin_entry) == 64, "layout");

static bool header_is_known(const struct tally_fatbin_header *header)
{
    return header->magic == TALLY_FATBIN_MAGIC && header->version == 1 &&
           header->header_bytes >= sizeof *header && header->payload_bytes <= BYTES_MAX;
}

size_t tally_fatbin_bytes(const void *at, size_t available)
{
    struct tally_fatbin_header header;
    if (available < sizeof header)
        return 0;
    memcpy(&header, at, sizeof header);
    if (!header_is_known(&header))
        return 0;
    size_t bytes = header.header_bytes + (size_t)header.payload_bytes;
    return bytes <= available ? bytes : 0;
}

/* ---- reading -------------------------------------------------------------------------------- */

bool tally_fatbin_open(struct tally_fatbin_reader *reader, const void *fatbin)
{
    struct tally_fatbin_header header;
    memcpy(&header, fatbin, sizeof header);
    *reader = (struct tally_fatbin_reader){0};
    if (!header_is_known(&header))
        return false;
    reader->at = (const uint8_t *)fatbin + header.header_bytes;
    reader->left = header.payload_bytes;
    return true;
}

bool tally_fatbin_next(struct tally_fatbin_reader *reader, struct tally_fatbin_entry *entry,
                       const uint8_t **payload)
{
    if (reader->broken || reader->left < sizeof *entry)
        return false;
    memcpy(entry, reader->at, sizeof *entry);
    if (entry->header_bytes < sizeof *entry || entry->header_bytes > reader->left ||
        entry->payload_bytes > reader->left - entry->header_bytes) {
        reader->broken = true;
        return false;
    }
    *payload = reader->at + entry->header_bytes;
    reader->at = *payload + entry->payload_bytes;
    reader->left -= entry->header_bytes + entry->payload_bytes;
    return true;
}

static bool entry_runs_on(const struct tally_fatbin_entry *entry, uint32_t architecture)
{
    if (entry->kind == TALLY_FATBIN_PTX)
        return entry->architecture <= architecture;
    return entry->kind == TALLY_FATBIN_ELF &&
           tally_machine_code_runs(entry->architecture, architecture);
}

bool tally_fatbin_runs_on(const void *fatbin, uint32_t architecture)
{
    struct tally_fatbin_reader reader;
    struct tally_fatbin_entry entry;
    const uint8_t *payload;
    bool runs = false;
    if (tally_fatbin_open(&reader, fatbin))
        while (!runs && tally_fatbin_next(&reader, &entry, &payload))
            runs = entry_runs_on(&entry, architecture);
    return runs;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Options of the compiler, behind the header of a PTX entry. This one is nvcc's for `-rdc=true`:
 * the driver compiles the PTX to code that can be linked, and does not miss what other inputs
 * define. */
struct options {
    uint32_t at, bytes;
    char text[24];
};
static const struct options relocatable = {sizeof(struct tally_fatbin_entry) + 8, 16,
                                           "--compile-only  "};

void *tally_fatbin_make(const struct tally_fatbin_code *code, size_t *total, size_t *code_at)
{
    size_t options = code->kind == TALLY_FATBIN_PTX ? sizeof relocatable : 0;
    size_t payload = (code->bytes + 1 + 7) & ~(size_t)7;
    struct tally_fatbin_entry entry = {
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
