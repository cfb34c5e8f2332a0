/* Fatbins: containers of code for several architectures. */
#ifndef TALLY_WIRE_FATBIN_H
#define TALLY_WIRE_FATBIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TALLY_FATBIN_MAGIC 0xBA55ED50u

enum tally_fatbin_kind { TALLY_FATBIN_PTX = 1, TALLY_FATBIN_ELF = 2 };

struct tally_fatbin_header {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t payload_bytes; /* of all entries, headers included */
};

struct tally_fatbin_code {
    enum tally_fatbin_kind kind;
    uint32_t architecture; /* 90: compute capability 9.0 */
    uint16_t ptx_major, ptx_minor;
    const void *data;
    size_t bytes;
};

/* A fatbin of this code alone, to be linked; malloc'ed, NULL when short of memory. The copy of the
 * code begins at *code_at and has a NUL behind it. */
void *tally_fatbin_make(const struct tally_fatbin_code *code, size_t *total, size_t *code_at);

/* Whether a whole fatbin has code that the device can run: machine code of its own generation, PTX
 * of any earlier. */
bool tally_fatbin_runs_on(const void *fatbin, size_t bytes, uint32_t architecture);

/* Whether machine code for the one architecture runs on a device of the other. */
static inline bool tally_machine_code_runs(uint32_t code, uint32_t device)
{
    return code / 10 == device / 10 && code <= device;
}

#endif
