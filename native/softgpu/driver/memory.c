/* Device memory: page-granular ranges in the tenant's region of one reserved arena. A page that is
 * not allocated is not accessible, and at least one such page lies between any two allocations: an
 * out-of-bounds access faults instead of hitting a neighbour. */
#include "soft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE (2ull << 20)
#define MAPS_DEFAULT 65530u /* Linux's default */
#define MAPS_SPARED 16384u  /* for the rest of the process */

static int reserve(uint64_t base, uint64_t bytes, int fixed)
{
    void *at = mmap((void *)(uintptr_t)base, bytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);
    if (at == MAP_FAILED)
        return -1;
    if ((uint64_t)(uintptr_t)at == base)
        return 0;
    munmap(at, bytes); /* a kernel that does not know MAP_FIXED_NOREPLACE took it as a hint */
    return -1;
}

/* An allocation with its guard page is two mappings of the process, whose number is limited. */
static uint32_t maps_limit(void)
{
    unsigned long limit = MAPS_DEFAULT;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    if (file && fscanf(file, "%lu", &limit) != 1)
        limit = MAPS_DEFAULT;
    if (file)
        fclose(file);
    limit = limit > 2 * MAPS_SPARED ? limit - MAPS_SPARED : limit / 2;
    return (uint32_t)(limit / 2 < UINT32_MAX ? limit / 2 : UINT32_MAX);
}

CUresult soft_memory_reserve(void)
{
    soft.maps_max = maps_limit();
    if (reserve(soft.arena_base, TALLY_ARENA_BYTES, MAP_FIXED_NOREPLACE) != 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    madvise((void *)soft.arena_base, TALLY_ARENA_BYTES, MADV_DONTFORK);
    return CUDA_SUCCESS;
}

CUresult soft_memory_open(struct soft_tenant *tenant)
{
    struct soft_memory *memory = &tenant->memory;
    tenant->region_base = soft.arena_base + tenant->id * TALLY_TENANT_BYTES;
    tenant->region_bytes = TALLY_TENANT_BYTES;
    if (!memory->gaps) {
        pthread_mutex_init(&memory->lock, NULL);
        memory->gap_room = 16;
        memory->gaps = malloc(memory->gap_room * sizeof *memory->gaps);
        if (!memory->gaps)
            return CUDA_ERROR_OUT_OF_MEMORY;
    }
    memory->gap_count = 1;
    memory->gaps[0] =
        (struct soft_gap){tenant->region_base + SOFT_PAGE, tenant->region_bytes - SOFT_PAGE};
    return CUDA_SUCCESS;
}

/* Index of the first range whose base is above the address. */
static size_t above(const struct soft_memory *memory, uint64_t address)
{
    size_t low = 0, high = memory->range_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (memory->ranges[middle].base > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static struct soft_range *find(struct soft_memory *memory, uint64_t address)
{
    size_t i = above(memory, address);
    if (i == 0)
        return NULL;
    struct soft_range *range = &memory->ranges[i - 1];
    return address - range->base < range->bytes ? range : NULL;
}

static int insert_range(struct soft_memory *memory, const struct soft_range *range)
{
    if (memory->range_count == memory->range_room) {
        size_t room = memory->range_room ? memory->range_room * 2 : 64;
        struct soft_range *grown = realloc(memory->ranges, room * sizeof *grown);
        if (!grown)
            return -1;
        memory->ranges = grown;
        memory->range_room = room;
    }
    size_t i = above(memory, range->base);
    memmove(&memory->ranges[i + 1], &memory->ranges[i], (memory->range_count - i) * sizeof *range);
    memory->ranges[i] = *range;
    memory->range_count++;
    return 0;
}

static void drop_range(struct soft_memory *memory, struct soft_range *range)
{
    size_t i = (size_t)(range - memory->ranges);
    memory->range_count--;
    memmove(range, range + 1, (memory->range_count - i) * sizeof *range);
}

/* Room for one more gap is made before anything is taken, so that giving back never fails. */
static int grow_gaps(struct soft_memory *memory)
{
    if (memory->gap_count + memory->range_count + 2 <= memory->gap_room)
        return 0;
    size_t room = memory->gap_room * 2;
    struct soft_gap *grown = realloc(memory->gaps, room * sizeof *grown);
    if (!grown)
        return -1;
    memory->gaps = grown;
    memory->gap_room = room;
    return 0;
}

static void add_gap(struct soft_memory *memory, uint64_t base, uint64_t bytes)
{
    size_t low = 0, high = memory->gap_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (memory->gaps[middle].base > base)
            high = middle;
        else
            low = middle + 1;
    }
    struct soft_gap *gaps = memory->gaps;
    bool joins_left = low > 0 && gaps[low - 1].base + gaps[low - 1].bytes == base;
    bool joins_right = low < memory->gap_count && base + bytes == gaps[low].base;
    if (joins_left && joins_right) {
        gaps[low - 1].bytes += bytes + gaps[low].bytes;
        memory->gap_count--;
        memmove(&gaps[low], &gaps[low + 1], (memory->gap_count - low) * sizeof *gaps);
    } else if (joins_left) {
        gaps[low - 1].bytes += bytes;
    } else if (joins_right) {
        gaps[low].base = base;
        gaps[low].bytes += bytes;
    } else {
        memmove(&gaps[low + 1], &gaps[low], (memory->gap_count - low) * sizeof *gaps);
        gaps[low] = (struct soft_gap){base, bytes};
        memory->gap_count++;
    }
}

/* First fit. Takes `bytes` at an aligned address; what is left of the gap stays. 0: no room. */
static uint64_t take_gap(struct soft_memory *memory, uint64_t bytes, uint64_t align)
{
    for (size_t i = 0; i < memory->gap_count; i++) {
        struct soft_gap gap = memory->gaps[i];
        uint64_t base = (gap.base + align - 1) & ~(align - 1);
        if (base < gap.base || base - gap.base > gap.bytes || gap.bytes - (base - gap.base) < bytes)
            continue;
        memory->gap_count--;
        memmove(&memory->gaps[i], &memory->gaps[i + 1], (memory->gap_count - i) * sizeof gap);
        if (base > gap.base)
            add_gap(memory, gap.base, base - gap.base);
        if (gap.base + gap.bytes > base + bytes)
            add_gap(memory, base + bytes, gap.base + gap.bytes - base - bytes);
        return base;
    }
    return 0;
}

/* Device memory and mappings are the process's: no tenant gets more than its share of the latter.
 */
static CUresult charge(struct soft_tenant *tenant, struct soft_device *device,
                       struct soft_range *range)
{
    bool counts = range->kind == SOFT_MEMORY_DEVICE, maps = range->kind != SOFT_MEMORY_REGISTERED;
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&soft.account_lock);
    if (counts && range->pages > soft.memory_bytes - device->memory_used)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (maps && (soft.maps_used >= soft.maps_max || tenant->maps_used >= soft.maps_max / 2))
        result = CUDA_ERROR_OUT_OF_MEMORY;
    if (result == CUDA_SUCCESS) {
        device->memory_used += counts ? range->pages : 0;
        soft.maps_used += maps;
        tenant->maps_used += maps;
        range->id = ++soft.next_range_id;
    }
    pthread_mutex_unlock(&soft.account_lock);
    return result;
}

static void discharge(struct soft_tenant *tenant, const struct soft_range *range)
{
    bool counts = range->kind == SOFT_MEMORY_DEVICE, maps = range->kind != SOFT_MEMORY_REGISTERED;
    pthread_mutex_lock(&soft.account_lock);
    soft.devices[range->device].memory_used -= counts ? range->pages : 0;
    soft.maps_used -= maps;
    tenant->maps_used -= maps;
    pthread_mutex_unlock(&soft.account_lock);
}

/* Drops the pages and makes them inaccessible in one call; neighbouring mappings merge again. */
static void unmap(uint64_t base, uint64_t bytes)
{
    mmap((void *)(uintptr_t)base, bytes, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    madvise((void *)(uintptr_t)base, bytes, MADV_DONTFORK);
}

static CUresult map(struct soft_memory *memory, struct soft_range *range)
{
    uint64_t align = range->pages >= HUGE_PAGE ? HUGE_PAGE : SOFT_PAGE;
    if (grow_gaps(memory) != 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    uint64_t base = take_gap(memory, range->pages + SOFT_PAGE, align);
    if (!base)
        return CUDA_ERROR_OUT_OF_MEMORY;
    range->base = base;
    if (mprotect((void *)(uintptr_t)base, range->pages, PROT_READ | PROT_WRITE) != 0 ||
        insert_range(memory, range) != 0) {
        unmap(base, range->pages);
        add_gap(memory, base, range->pages + SOFT_PAGE);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (align == HUGE_PAGE)
        madvise((void *)(uintptr_t)base, range->pages, MADV_HUGEPAGE);
    return CUDA_SUCCESS;
}

CUresult soft_memory_alloc(struct soft_tenant *tenant, struct soft_device *device, uint64_t bytes,
                           enum soft_memory_kind kind, uint32_t flags, uint64_t *address)
{
    if (bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes > tenant->region_bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    struct soft_range range = {
        .bytes = bytes,
        .pages = (bytes + SOFT_PAGE - 1) & ~(SOFT_PAGE - 1),
        .device = device->index,
        .flags = flags,
        .kind = kind,
    };
    CUresult result = charge(tenant, device, &range);
    if (result != CUDA_SUCCESS)
        return result;
    pthread_mutex_lock(&tenant->memory.lock);
    result = map(&tenant->memory, &range);
    pthread_mutex_unlock(&tenant->memory.lock);
    if (result != CUDA_SUCCESS)
        discharge(tenant, &range);
    else
        *address = range.base;
    return result;
}

CUresult soft_memory_free(struct soft_tenant *tenant, uint64_t address, enum soft_memory_kind kind)
{
    struct soft_memory *memory = &tenant->memory;
    pthread_mutex_lock(&memory->lock);
    struct soft_range *found = find(memory, address);
    if (!found || found->base != address || found->kind != kind) {
        pthread_mutex_unlock(&memory->lock);
        return kind == SOFT_MEMORY_REGISTERED ? CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED
                                              : CUDA_ERROR_INVALID_VALUE;
    }
    struct soft_range range = *found;
    drop_range(memory, found);
    if (kind != SOFT_MEMORY_REGISTERED) {
        unmap(range.base, range.pages);
        add_gap(memory, range.base, range.pages + SOFT_PAGE);
    }
    pthread_mutex_unlock(&memory->lock);
    discharge(tenant, &range);
    return CUDA_SUCCESS;
}

CUresult soft_memory_register(struct soft_tenant *tenant, uint64_t address, uint64_t bytes,
                              uint32_t flags)
{
    struct soft_range range = {
        .base = address, .bytes = bytes, .flags = flags, .kind = SOFT_MEMORY_REGISTERED};
    struct soft_memory *memory = &tenant->memory;
    if (!address || !bytes || address + bytes < address)
        return CUDA_ERROR_INVALID_VALUE;
    if (address < soft.arena_base + TALLY_ARENA_BYTES && address + bytes > soft.arena_base)
        return CUDA_ERROR_INVALID_VALUE;
    charge(tenant, &soft.devices[0], &range);
    pthread_mutex_lock(&memory->lock);
    size_t next = above(memory, address + bytes - 1);
    CUresult result = CUDA_SUCCESS;
    if (next > 0 && memory->ranges[next - 1].base + memory->ranges[next - 1].bytes > address)
        result = CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    else if (grow_gaps(memory) != 0 || insert_range(memory, &range) != 0)
        result = CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_unlock(&memory->lock);
    return result;
}

bool soft_memory_find(struct soft_tenant *tenant, uint64_t address, struct soft_range *range)
{
    pthread_mutex_lock(&tenant->memory.lock);
    struct soft_range *found = find(&tenant->memory, address);
    if (found)
        *range = *found;
    pthread_mutex_unlock(&tenant->memory.lock);
    return found != NULL;
}

void soft_memory_clear(struct soft_tenant *tenant)
{
    struct soft_memory *memory = &tenant->memory;
    pthread_mutex_lock(&memory->lock);
    for (size_t i = 0; i < memory->range_count; i++) {
        discharge(tenant, &memory->ranges[i]);
        if (memory->ranges[i].kind != SOFT_MEMORY_REGISTERED)
            unmap(memory->ranges[i].base, memory->ranges[i].pages);
    }
    free(memory->ranges);
    memory->ranges = NULL;
    memory->range_count = memory->range_room = 0;
    memory->gap_count = 1;
    memory->gaps[0] =
        (struct soft_gap){tenant->region_base + SOFT_PAGE, tenant->region_bytes - SOFT_PAGE};
    pthread_mutex_unlock(&memory->lock);
}
