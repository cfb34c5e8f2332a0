/* Fatbins: containers of code for several architectures, as fatbinary(1) of CUDA 9 to 13 writes
 * them. Nothing here reads beyond the sizes that a fatbin gives, nor trusts one that does not
 * fit. */
#ifndef TALLY_WIRE_FATBIN_H
#define TALLY_WIRE_FATBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TALLY_FATBIN_MAGIC 0xba55ed50u
#define TALLY_FATBIN_WRAPPER_MAGIC 0x466243b1u

/* What nvcc's host code registers, and what cuModuleLoadData takes. */
struct tally_fatbin_wrapper {
    uint32_t magic, version; /* version 2: fatbins is an array of pointers, the last one NULL */
    const void *data;
    const void *const *fatbins;
};

struct tally_fatbin_header {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t payload_bytes; /* of all entries, headers included */
};

enum tally_fatbin_kind { TALLY_FATBIN_PTX = 1, TALLY_FATBIN_ELF = 2 };
enum tally_fatbin_flags { TALLY_FATBIN_LZ4 = 0x2000, TALLY_FATBIN_ZSTD = 0x8000 };

struct tally_fatbin_entry {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t payload_bytes; /* padded to 8 */
    uint32_t compressed_bytes, options_at;
    uint16_t ptx_minor, ptx_major;
    uint32_t architecture; /* 90: compute capability 9.0 */
    uint32_t name_at, name_bytes;
    uint64_t flags, reserved, uncompressed_bytes;
};

/* The size of a fatbin that begins at `at`, where `available` bytes may be read; 0 where none does,
 * or it does not fit. */
size_t tally_fatbin_bytes(const void *at, size_t available);

/* Its entries, one after the other. */
struct tally_fatbin_reader {
    const uint8_t *at;
    uint64_t left;
    bool broken; /* an entry says that it is larger than what is left */
};

/* Of a fatbin that is there as far as its header says. False: the header is of no kind known. */
bool tally_fatbin_open(struct tally_fatbin_reader *reader, const void *fatbin);
/* False: that was all, or the fatbin is broken. */
bool tally_fatbin_next(struct tally_fatbin_reader *reader, struct tally_fatbin_entry *entry,
                       const uint8_t **payload);

/* Whether a whole fatbin has code that the device can run: machine code of its own generation, PTX
 * of any earlier. */
bool tally_fatbin_runs_on(const void *fatbin, uint32_t architecture);

/* Whether machine code for the one architecture runs on a device of the other. */
static inline bool tally_machine_code_runs(uint32_t code, uint32_t device)
{
    return code / 10 == device / 10 && code <= device;
}

struct tally_fatbin_code {
    enum tally_fatbin_kind kind;
    uint32_t architecture;
    uint16_t ptx_major, ptx_minor;
    const void *data;
    size_t bytes;
};

/* A fatbin of this code alone, to be linked; malloc'ed, NULL when short of memory. The copy of the
 * code begins at *code_at and has a NUL behind it. */
void *tally_fatbin_make(const struct tally_fatbin_code *code, size_t *total, size_t *code_at);

#endif
