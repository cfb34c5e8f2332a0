#include "wire/bundle.h"

#include <stdlib.h>
#include <string.h>

static size_t aligned(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

static size_t head_bytes(uint32_t count)
{
    return sizeof(struct tally_bundle) + count * sizeof(uint64_t);
}

uint8_t *tally_bundle_make(const void *const *fatbins, const size_t *bytes, uint32_t count,
                           size_t *total)
{
    size_t end = head_bytes(count);
    for (uint32_t i = 0; i < count; i++)
        end += aligned(bytes[i]);
    uint8_t *bundle = calloc(1, end);
    if (!bundle)
        return NULL;
    struct tally_bundle head = {.magic = TALLY_BUNDLE_MAGIC, .count = count};
    memcpy(bundle, &head, sizeof head);
    size_t at = head_bytes(count);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t size = bytes[i];
        memcpy(bundle + sizeof head + i * sizeof size, &size, sizeof size);
        memcpy(bundle + at, fatbins[i], bytes[i]);
        at += aligned(bytes[i]);
    }
    *total = end;
    return bundle;
}

bool tally_is_bundle(const void *bytes, size_t count)
{
    uint32_t magic = 0;
    memcpy(&magic, bytes, count < sizeof magic ? count : sizeof magic);
    return magic == TALLY_BUNDLE_MAGIC;
}

/* Its head, held against the size; false where it does not fit. */
static bool read_head(const uint8_t *bytes, size_t count, struct tally_bundle *head)
{
    if (!tally_is_bundle(bytes, count) || count < sizeof *head)
        return false;
    memcpy(head, bytes, sizeof *head);
    return head->count > 0 && head->count <= TALLY_BUNDLE_FATBINS_MAX &&
           head_bytes(head->count) <= count;
}

const uint8_t *tally_bundle_at(const void *bundle, size_t count, uint32_t wanted,
                               size_t *fatbin_bytes)
{
    const uint8_t *bytes = bundle;
    struct tally_bundle head;
    if (!read_head(bytes, count, &head) || wanted >= head.count)
        return NULL;
    size_t at = head_bytes(head.count);
    for (uint32_t i = 0;; i++) {
        uint64_t size;
        memcpy(&size, bytes + sizeof head + i * sizeof size, sizeof size);
        if (at > count || size > count - at)
            return NULL;
        if (i == wanted) {
            *fatbin_bytes = size;
            return bytes + at;
        }
        at += aligned(size);
    }
}

uint32_t tally_bundle_count(const void *bytes, size_t count)
{
    struct tally_bundle head;
    size_t last;
    if (!read_head(bytes, count, &head) || !tally_bundle_at(bytes, count, head.count - 1, &last))
        return 0;
    return head.count;
}
