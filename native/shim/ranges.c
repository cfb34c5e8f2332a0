#include "ranges.h"

#include <stdlib.h>
#include <string.h>

#include "tally/assert.h"
#include "tally/locks.h"

/* Sorted by base, never overlapping. An insertion moves what lies behind it, which for the
 * thousands of allocations that programs have costs less than the message that went before. */
static struct tally_rwlock lock = TALLY_RWLOCK_INIT;
static struct shim_range *ranges GUARDED_BY(lock);
static size_t range_count GUARDED_BY(lock), range_capacity GUARDED_BY(lock);
static uint64_t next_id GUARDED_BY(lock) = 1;

static void forget(void)
{
    tally_rwlock_init(&lock);
    range_count = 0;
}

__attribute__((constructor)) static void register_hook(void) { shim_on_fork(forget); }

/* Index of the first range that ends behind `address`. */
static size_t lower_locked(uint64_t address) REQUIRES_SHARED(lock)
{
    size_t low = 0, high = range_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ranges[middle].base + ranges[middle].bytes <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool holds_locked(size_t index, uint64_t address) REQUIRES_SHARED(lock)
{
    return index < range_count && ranges[index].base <= address;
}

static bool make_room_locked(void) REQUIRES(lock)
{
    if (range_count < range_capacity)
        return true;
    size_t capacity = range_capacity ? 2 * range_capacity : 256;
    struct shim_range *grown = realloc(ranges, capacity * sizeof *grown);
    if (!grown)
        return false;
    ranges = grown;
    range_capacity = capacity;
    return true;
}

CUresult shim_range_add(struct shim_range range)
{
    CUresult result = CUDA_SUCCESS;
    tally_rwlock_write(&lock);
    size_t at = lower_locked(range.base);
    if (range.base + range.bytes < range.base ||
        (at < range_count && ranges[at].base < range.base + range.bytes)) {
        result = CUDA_ERROR_ALREADY_MAPPED;
    } else if (!make_room_locked()) {
        result = CUDA_ERROR_OUT_OF_MEMORY;
    } else {
        memmove(ranges + at + 1, ranges + at, (range_count - at) * sizeof *ranges);
        range.id = next_id++;
        ranges[at] = range;
        range_count++;
    }
    tally_rwlock_give(&lock);
    return result;
}

bool shim_range_find(uint64_t address, struct shim_range *out)
{
    tally_rwlock_read(&lock);
    size_t at = lower_locked(address);
    bool found = holds_locked(at, address);
    if (found)
        *out = ranges[at];
    tally_rwlock_give(&lock);
    return found;
}

static void remove_at_locked(size_t at, struct shim_range *out) REQUIRES(lock)
{
    TALLY_ASSERT(at < range_count);
    *out = ranges[at];
    range_count--;
    memmove(ranges + at, ranges + at + 1, (range_count - at) * sizeof *ranges);
}

bool shim_range_remove(uint64_t base, enum shim_range_kind kind, struct shim_range *out)
{
    tally_rwlock_write(&lock);
    size_t at = lower_locked(base);
    bool found = at < range_count && ranges[at].base == base && ranges[at].kind == kind;
    if (found)
        remove_at_locked(at, out);
    tally_rwlock_give(&lock);
    return found;
}

bool shim_range_remove_any(const struct shim_context *context, struct shim_range *out)
{
    bool found = false;
    tally_rwlock_write(&lock);
    for (size_t at = range_count; at-- > 0 && !found;) {
        found = ranges[at].context == context && ranges[at].kind != SHIM_RANGE_GLOBAL;
        if (found)
            remove_at_locked(at, out);
    }
    tally_rwlock_give(&lock);
    return found;
}

bool shim_range_set_sync(uint64_t address, uint32_t sync_memops)
{
    tally_rwlock_write(&lock);
    size_t at = lower_locked(address);
    bool found = holds_locked(at, address);
    if (found)
        ranges[at].sync_memops = sync_memops;
    tally_rwlock_give(&lock);
    return found;
}
