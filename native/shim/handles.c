#include "handles.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "tally/assert.h"
#include "tally/locks.h"
#include "tell.h"

/* Records hang in chunks that are never freed or moved, so that a reader needs no lock. */
#define CHUNK_RECORDS 1024u
#define CHUNKS_MAX (TALLY_INDEX_MAX / CHUNK_RECORDS)
#define KINDS 16u

struct chunk {
    _Atomic(void *) records[CHUNK_RECORDS];
};

static struct tally_mutex lock = TALLY_MUTEX_INIT;

struct table {
    _Atomic(struct chunk *) chunks[CHUNKS_MAX];
    uint32_t used GUARDED_BY(lock);       /* indices ever handed out */
    uint32_t *free_list GUARDED_BY(lock); /* stack of released indices */
    uint32_t free_count GUARDED_BY(lock), free_capacity GUARDED_BY(lock);
};

static struct table tables[KINDS];

static _Atomic(void *) *cell(enum tally_kind kind, uint64_t handle)
{
    if (!TALLY_HANDLE_OK(handle, kind))
        return NULL;
    uint32_t index = TALLY_HANDLE_INDEX(handle);
    if (index >= TALLY_INDEX_MAX)
        return NULL;
    struct chunk *chunk =
        atomic_load_explicit(&tables[kind].chunks[index / CHUNK_RECORDS], memory_order_acquire);
    return chunk ? &chunk->records[index % CHUNK_RECORDS] : NULL;
}

/* An index that no live handle has; UINT32_MAX if there is none. */
static uint32_t take_index_locked(struct table *table) REQUIRES(lock)
{
    if (table->free_count)
        return table->free_list[--table->free_count];
    if (table->used == TALLY_INDEX_MAX)
        return UINT32_MAX;
    uint32_t chunk = table->used / CHUNK_RECORDS;
    if (!atomic_load_explicit(&table->chunks[chunk], memory_order_relaxed)) {
        struct chunk *fresh = calloc(1, sizeof *fresh);
        if (!fresh)
            return UINT32_MAX;
        atomic_store_explicit(&table->chunks[chunk], fresh, memory_order_release);
    }
    return table->used++;
}

uint64_t shim_handle_add(enum tally_kind kind, void *record)
{
    tally_mutex_take(&lock);
    uint32_t index = take_index_locked(&tables[kind]);
    bool full = tables[kind].used == TALLY_INDEX_MAX;
    tally_mutex_give(&lock);
    if (index == UINT32_MAX) {
        if (full)
            shim_tell("a program can have %u streams, events, modules or functions of each kind, "
                      "and has them",
                      TALLY_INDEX_MAX);
        return 0;
    }
    uint64_t handle = TALLY_HANDLE(kind, index);
    atomic_store_explicit(cell(kind, handle), record, memory_order_release);
    return handle;
}

void shim_handle_put(enum tally_kind kind, uint64_t handle, void *record)
{
    _Atomic(void *) *at = cell(kind, handle);
    TALLY_ASSERT(at); /* it was made here */
    atomic_store_explicit(at, record, memory_order_release);
}

void *shim_handle_get(enum tally_kind kind, uint64_t handle)
{
    _Atomic(void *) *at = cell(kind, handle);
    return at ? atomic_load_explicit(at, memory_order_acquire) : NULL;
}

void *shim_handle_remove(enum tally_kind kind, uint64_t handle)
{
    _Atomic(void *) *at = cell(kind, handle);
    return at ? atomic_exchange(at, NULL) : NULL;
}

void shim_handle_release(enum tally_kind kind, uint64_t handle)
{
    struct table *table = &tables[kind];
    TALLY_ASSERT(TALLY_HANDLE_OK(handle, kind) && !shim_handle_get(kind, handle));
    tally_mutex_take(&lock);
    if (table->free_count == table->free_capacity) {
        uint32_t capacity = table->free_capacity ? 2 * table->free_capacity : 64;
        uint32_t *grown = realloc(table->free_list, capacity * sizeof *grown);
        if (grown) {
            table->free_list = grown;
            table->free_capacity = capacity;
        }
    }
    if (table->free_count < table->free_capacity) /* else the index is lost, no more */
        table->free_list[table->free_count++] = TALLY_HANDLE_INDEX(handle);
    tally_mutex_give(&lock);
}

void shim_handle_each(enum tally_kind kind,
                      void (*visit)(void *user, uint64_t handle, void *record), void *user)
{
    tally_mutex_take(&lock);
    uint32_t used = tables[kind].used;
    tally_mutex_give(&lock);
    for (uint32_t index = 0; index < used; index++) {
        uint64_t handle = TALLY_HANDLE(kind, index);
        void *record = shim_handle_get(kind, handle);
        if (record)
            visit(user, handle, record);
    }
}

void shim_handle_forget(void)
{
    tally_mutex_init(&lock);
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        struct table *table = &tables[kind];
        for (uint32_t i = 0; i < CHUNKS_MAX && atomic_load(&table->chunks[i]); i++)
            for (uint32_t j = 0; j < CHUNK_RECORDS; j++)
                atomic_store_explicit(&table->chunks[i]->records[j], NULL, memory_order_relaxed);
        table->used = table->free_count = 0;
    }
}
