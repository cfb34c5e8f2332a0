/* Device memory for kernels' malloc, in pieces of the tenant's own memory that come as they are
 * needed.
 *
 * What is allocated is noted outside of device memory, where no kernel can spoil it: each piece has
 * a word for every unit, of which the first of a run of units says how long the run is and whether
 * it is in use. */
#include "heap.h"

#include <stdlib.h>
#include <string.h>

#include "queue.h"

#define UNIT 64ull
#define PIECE_BYTES (8ull << 20)
#define PIECES_MAX 1024u
#define SESSION_HEAP_MAX (1ull << 30) /* of sessions, whose limit stays with their program */

struct piece {
    uint64_t base;
    uint32_t units, rover; /* where the search for room goes on */
    uint32_t *runs;        /* at a run's first unit: its length << 1 | in use; elsewhere 0 */
};

struct soft_heap {
    uint32_t count;
    uint64_t bytes;
    struct piece pieces[PIECES_MAX];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of all heaps; taken before memory's */

static uint64_t limit(const struct soft_tenant *tenant, const struct soft_device *device)
{
    return tenant->id ? SESSION_HEAP_MAX : device->primary.limits[CU_LIMIT_MALLOC_HEAP_SIZE];
}

static struct piece *add_piece(struct soft_tenant *tenant, struct soft_device *device,
                               uint64_t bytes)
{
    struct soft_heap *heap = tenant->heap;
    uint64_t most = limit(tenant, device);
    uint64_t size = bytes > PIECE_BYTES ? bytes : PIECE_BYTES, base;
    if (size > most - heap->bytes)
        size = (most - heap->bytes) / UNIT * UNIT;
    if (heap->count == PIECES_MAX || heap->bytes > most || size < bytes)
        return NULL;
    uint32_t *runs = calloc(size / UNIT, sizeof *runs);
    if (!runs ||
        soft_memory_alloc(tenant, device, size, SOFT_MEMORY_DEVICE, 0, &base) != CUDA_SUCCESS) {
        free(runs);
        return NULL;
    }
    struct piece *piece = &heap->pieces[heap->count++];
    *piece = (struct piece){.base = base, .units = (uint32_t)(size / UNIT), .runs = runs};
    runs[0] = piece->units << 1;
    heap->bytes += size;
    return piece;
}

/* Joins the free run with those behind it. */
static uint32_t free_units(struct piece *piece, uint32_t at)
{
    uint32_t units = piece->runs[at] >> 1;
    while (at + units < piece->units && !(piece->runs[at + units] & 1)) {
        uint32_t more = piece->runs[at + units] >> 1;
        piece->runs[at + units] = 0;
        units += more;
    }
    piece->runs[at] = units << 1;
    return units;
}

/* First fit from `from` on, up to `to`. */
static uint64_t find_room(struct piece *piece, uint32_t need, uint32_t from, uint32_t to)
{
    for (uint32_t at = from; at < to; at += piece->runs[at] >> 1) {
        if (piece->runs[at] & 1)
            continue;
        uint32_t units = free_units(piece, at);
        if (units < need)
            continue;
        piece->runs[at] = need << 1 | 1;
        if (units > need)
            piece->runs[at + need] = (units - need) << 1;
        piece->rover = units > need ? at + need : 0;
        return piece->base + at * UNIT;
    }
    return 0;
}

static uint64_t alloc_in(struct piece *piece, uint32_t need)
{
    uint32_t from = piece->rover;
    piece->rover = 0;
    uint64_t found = find_room(piece, need, from, piece->units);
    return found || !from ? found : find_room(piece, need, 0, piece->units);
}

static uint64_t alloc_locked(struct soft_tenant *tenant, uint64_t bytes)
{
    if (!tenant->heap && !(tenant->heap = calloc(1, sizeof *tenant->heap)))
        return 0;
    struct soft_heap *heap = tenant->heap;
    uint32_t need = (uint32_t)((bytes + UNIT - 1) / UNIT);
    for (uint32_t i = heap->count; i-- > 0;) {
        uint64_t found = alloc_in(&heap->pieces[i], need);
        if (found)
            return found;
    }
    struct piece *piece = add_piece(tenant, soft_worker_device(), need * UNIT);
    return piece ? alloc_in(piece, need) : 0;
}

uint64_t soft_heap_alloc(uint32_t id, uint64_t bytes)
{
    if (bytes > SESSION_HEAP_MAX)
        return 0;
    pthread_mutex_lock(&lock);
    uint64_t found = alloc_locked(&soft.tenants[id], bytes ? bytes : 1);
    pthread_mutex_unlock(&lock);
    return found;
}

static bool free_in(struct piece *piece, uint64_t address)
{
    uint64_t at = (address - piece->base) / UNIT;
    if (address < piece->base || at >= piece->units)
        return false;
    if ((address - piece->base) % UNIT || !(piece->runs[at] & 1))
        return false;
    piece->runs[at] &= ~1u;
    if (at < piece->rover)
        piece->rover = (uint32_t)at;
    return true;
}

bool soft_heap_free(uint32_t id, uint64_t address)
{
    pthread_mutex_lock(&lock);
    struct soft_heap *heap = soft.tenants[id].heap;
    bool found = false;
    for (uint32_t i = 0; heap && i < heap->count && !found; i++)
        found = free_in(&heap->pieces[i], address);
    pthread_mutex_unlock(&lock);
    return found;
}

bool soft_heap_used(const struct soft_tenant *tenant) { return tenant->heap != NULL; }

void soft_heap_forget(struct soft_tenant *tenant)
{
    pthread_mutex_lock(&lock);
    for (uint32_t i = 0; tenant->heap && i < tenant->heap->count; i++)
        free(tenant->heap->pieces[i].runs);
    free(tenant->heap);
    tenant->heap = NULL;
    pthread_mutex_unlock(&lock);
}
