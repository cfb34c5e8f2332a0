/* Fatbins: what is made is read back, and what is cut short or lies is not read beyond. */
#include "wire/fatbin.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

static const char text[] = ".version 8.0\n.target sm_80\n";

struct sample {
    uint8_t *bytes;
    size_t count, code_at;
};

static struct sample make(enum tally_fatbin_kind kind, uint32_t architecture)
{
    struct sample sample;
    const struct tally_fatbin_code code = {
        .kind = kind, .architecture = architecture, .data = text, .bytes = sizeof text - 1};
    sample.bytes = tally_fatbin_make(&code, &sample.count, &sample.code_at);
    CHECK(sample.bytes != NULL);
    return sample;
}

/* Fatbins with several entries: those of both, under the first one's header. */
static struct sample join(struct sample first, struct sample second)
{
    struct tally_fatbin_header header;
    memcpy(&header, first.bytes, sizeof header);
    size_t more = second.count - sizeof header;
    first.bytes = realloc(first.bytes, first.count + more);
    memcpy(first.bytes + first.count, second.bytes + sizeof header, more);
    header.payload_bytes += more;
    memcpy(first.bytes, &header, sizeof header);
    first.count += more;
    free(second.bytes);
    return first;
}

static void test_size(void)
{
    struct sample sample = make(TALLY_FATBIN_PTX, 80);
    struct tally_fatbin_header header;
    memcpy(&header, sample.bytes, sizeof header);
    CHECK(tally_fatbin_bytes(sample.bytes, sample.count) == sample.count);
    CHECK(tally_fatbin_bytes(sample.bytes, sample.count + 1) == sample.count);
    for (size_t cut = 0; cut < sample.count; cut++)
        CHECK(tally_fatbin_bytes(sample.bytes, cut) == 0);
    struct tally_fatbin_header wrong[] = {header, header, header, header};
    wrong[0].magic++;
    wrong[1].version = 2;
    wrong[2].header_bytes = sizeof header - 1;
    wrong[3].payload_bytes = UINT64_MAX - 8;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct tally_fatbin_reader reader;
        memcpy(sample.bytes, &wrong[i], sizeof header);
        CHECK(tally_fatbin_bytes(sample.bytes, SIZE_MAX) == 0);
        CHECK(!tally_fatbin_open(&reader, sample.bytes));
    }
    free(sample.bytes);
}

static void test_entries(void)
{
    struct sample sample = join(make(TALLY_FATBIN_PTX, 80), make(TALLY_FATBIN_ELF, 90));
    struct tally_fatbin_reader reader;
    struct tally_fatbin_entry entry;
    const uint8_t *payload;
    CHECK(tally_fatbin_open(&reader, sample.bytes));
    CHECK(tally_fatbin_next(&reader, &entry, &payload));
    CHECK(entry.kind == TALLY_FATBIN_PTX && entry.architecture == 80);
    CHECK(payload == sample.bytes + sample.code_at && strcmp((const char *)payload, text) == 0);
    CHECK(tally_fatbin_next(&reader, &entry, &payload));
    CHECK(entry.kind == TALLY_FATBIN_ELF && entry.architecture == 90);
    CHECK(strcmp((const char *)payload, text) == 0);
    CHECK(!tally_fatbin_next(&reader, &entry, &payload) && !reader.broken);
    free(sample.bytes);
}

/* The second entry says another size: the first is read, and nothing behind. */
static void test_broken(void)
{
    struct sample sample = make(TALLY_FATBIN_PTX, 80);
    struct tally_fatbin_entry good, entry;
    size_t at = sample.count; /* of the second one */
    sample = join(sample, make(TALLY_FATBIN_ELF, 90));
    memcpy(&good, sample.bytes + at, sizeof good);
    struct tally_fatbin_entry wrong[] = {good, good, good, good};
    wrong[0].header_bytes = sizeof good - 1;
    wrong[1].header_bytes = UINT32_MAX;
    wrong[2].payload_bytes++;
    wrong[3].payload_bytes = UINT64_MAX - wrong[3].header_bytes + 1; /* the sum is 0 */
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct tally_fatbin_reader reader;
        const uint8_t *payload;
        memcpy(sample.bytes + at, &wrong[i], sizeof good);
        CHECK(tally_fatbin_open(&reader, sample.bytes));
        CHECK(tally_fatbin_next(&reader, &entry, &payload) && !reader.broken);
        CHECK(!tally_fatbin_next(&reader, &entry, &payload) && reader.broken);
        CHECK(!tally_fatbin_next(&reader, &entry, &payload));
    }
    free(sample.bytes);
}

static void test_runs_on(void)
{
    struct sample ptx = make(TALLY_FATBIN_PTX, 80), elf = make(TALLY_FATBIN_ELF, 86);
    CHECK(tally_fatbin_runs_on(ptx.bytes, 80) && tally_fatbin_runs_on(ptx.bytes, 90));
    CHECK(!tally_fatbin_runs_on(ptx.bytes, 75));
    CHECK(tally_fatbin_runs_on(elf.bytes, 86) && tally_fatbin_runs_on(elf.bytes, 89));
    CHECK(!tally_fatbin_runs_on(elf.bytes, 80) && !tally_fatbin_runs_on(elf.bytes, 90));
    elf = join(elf, ptx);
    CHECK(tally_fatbin_runs_on(elf.bytes, 80) && tally_fatbin_runs_on(elf.bytes, 90));
    free(elf.bytes);
}

int main(void)
{
    test_size();
    test_entries();
    test_broken();
    test_runs_on();
    return CHECK_RESULT();
}
