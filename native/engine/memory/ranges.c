#include "engine/memory/ranges.h"

#include <stdlib.h>
#include <string.h>

#include "engine/stats.h"

/* How many ranges begin at or below the address. */
static size_t position(const struct ranges *ranges, uint64_t address)
{
    size_t low = 0, high = ranges->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges->items[middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool ranges_add(struct ranges *ranges, struct range range)
{
    size_t at = position(ranges, range.base);
    if (range.bytes == 0 || range.base + range.bytes < range.base)
        return false;
    if (at > 0 && ranges->items[at - 1].base + ranges->items[at - 1].bytes > range.base)
        return false;
    if (at < ranges->count && range.base + range.bytes > ranges->items[at].base)
        return false;
    if (ranges->count == ranges->room) {
        size_t room = ranges->room ? ranges->room * 2 : 64;
        struct range *items = realloc(ranges->items, room * sizeof *items);
        if (!items)
            return false;
        ranges->items = items;
        ranges->room = room;
    }
    memmove(&ranges->items[at + 1], &ranges->items[at], (ranges->count - at) * sizeof range);
    ranges->items[at] = range;
    ranges->count++;
    return true;
}

const struct range *ranges_find(const struct ranges *ranges, uint64_t address, uint64_t bytes)
{
    size_t at = position(ranges, address);
    if (at == 0)
        return NULL;
    const struct range *range = &ranges->items[at - 1];
    uint64_t offset = address - range->base;
    return offset <= range->bytes && bytes <= range->bytes - offset ? range : NULL;
}

static void remove_at(struct ranges *ranges, size_t at)
{
    ranges->count--;
    memmove(&ranges->items[at], &ranges->items[at + 1],
            (ranges->count - at) * sizeof *ranges->items);
}

bool ranges_remove(struct ranges *ranges, uint64_t base, enum range_kind kind,
                   struct range *removed)
{
    size_t at = position(ranges, base);
    if (at == 0 || ranges->items[at - 1].base != base || ranges->items[at - 1].kind != kind)
        return false;
    *removed = ranges->items[at - 1];
    remove_at(ranges, at - 1);
    return true;
}

void ranges_remove_owner(struct ranges *ranges, const void *owner)
{
    size_t kept = 0;
    for (size_t i = 0; i < ranges->count; i++)
        if (ranges->items[i].owner != owner)
            ranges->items[kept++] = ranges->items[i];
    ranges->count = kept;
}

void ranges_clear(struct ranges *ranges)
{
    free(ranges->items);
    *ranges = (struct ranges){0};
}
