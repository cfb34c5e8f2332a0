#include "ranges.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Sorted by base, never overlapping. An insertion moves what lies behind it, which for the thousands of
 * allocations that programs have costs less than the message that went before. */
static struct shim_range *ranges;
static size_t range_count, range_capacity;
static uint64_t next_id = 1;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

static void forget(void)
{
    pthread_rwlock_init(&lock, NULL);
    range_count = 0;
}

__attribute__((constructor)) static void register_hook(void)
{
    shim_on_fork(forget);
}

/* Index of the first range that ends behind `address`. Under lock. */
static size_t lower(uint64_t address)
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

static bool holds(size_t index, uint64_t address)
{
    return index < range_count && ranges[index].base <= address;
}

static bool make_room(void)
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
    pthread_rwlock_wrlock(&lock);
    size_t at = lower(range.base);
    if (range.base + range.bytes < range.base || (at < range_count && ranges[at].base < range.base + range.bytes)) {
        result = CUDA_ERROR_ALREADY_MAPPED;
    } else if (!make_room()) {
        result = CUDA_ERROR_OUT_OF_MEMORY;
    } else {
        memmove(ranges + at + 1, ranges + at, (range_count - at) * sizeof *ranges);
        range.id = next_id++;
        ranges[at] = range;
        range_count++;
    }
    pthread_rwlock_unlock(&lock);
    return result;
}

bool shim_range_find(uint64_t address, struct shim_range *out)
{
    pthread_rwlock_rdlock(&lock);
    size_t at = lower(address);
    bool found = holds(at, address);
    if (found)
        *out = ranges[at];
    pthread_rwlock_unlock(&lock);
    return found;
}

static void remove_at(size_t at, struct shim_range *out)
{
    *out = ranges[at];
    range_count--;
    memmove(ranges + at, ranges + at + 1, (range_count - at) * sizeof *ranges);
}

bool shim_range_remove(uint64_t base, enum shim_range_kind kind, struct shim_range *out)
{
    pthread_rwlock_wrlock(&lock);
    size_t at = lower(base);
    bool found = at < range_count && ranges[at].base == base && ranges[at].kind == kind;
    if (found)
        remove_at(at, out);
    pthread_rwlock_unlock(&lock);
    return found;
}

bool shim_range_remove_any(const struct shim_context *context, struct shim_range *out)
{
    bool found = false;
    pthread_rwlock_wrlock(&lock);
    for (size_t at = range_count; at-- > 0 && !found;) {
        found = ranges[at].context == context && ranges[at].kind != SHIM_RANGE_GLOBAL;
        if (found)
            remove_at(at, out);
    }
    pthread_rwlock_unlock(&lock);
    return found;
}

bool shim_range_set_sync(uint64_t address, uint32_t sync_memops)
{
    pthread_rwlock_wrlock(&lock);
    size_t at = lower(address);
    bool found = holds(at, address);
    if (found)
        ranges[at].sync_memops = sync_memops;
    pthread_rwlock_unlock(&lock);
    return found;
}
