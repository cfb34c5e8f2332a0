/* The addresses that a session may name, ordered. Not thread-safe. */
#ifndef TALLY_ENGINE_RANGES_H
#define TALLY_ENGINE_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum range_kind { RANGE_NONE = 0, RANGE_DEVICE = 1, RANGE_GLOBAL = 2, RANGE_PINNED = 3 };

struct range {
    uint64_t base, bytes;
    enum range_kind kind;
    const void *owner; /* RANGE_GLOBAL: the module */
};

struct ranges {
    struct range *items;
    size_t count, room;
};

/* False: short of memory, or it overlaps another range. */
bool ranges_add(struct ranges *ranges, struct range range);
/* The range that holds all of [address, address + bytes), or NULL. */
const struct range *ranges_find(const struct ranges *ranges, uint64_t address, uint64_t bytes);
/* Takes out the range that begins there, if it is of that kind. */
bool ranges_remove(struct ranges *ranges, uint64_t base, enum range_kind kind,
                   struct range *removed);
void ranges_remove_owner(struct ranges *ranges, const void *owner);
void ranges_clear(struct ranges *ranges);

#endif
