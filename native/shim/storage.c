#include "storage.h"

#include <stdlib.h>

#include "tally/locks.h"

static struct tally_mutex writers = TALLY_MUTEX_INIT;

/* The entry with this key, or NULL. Lock-free; `key` may be NULL to find a free entry. */
static struct shim_storage_entry *find(struct shim_storage *storage, const void *key)
{
    for (struct shim_storage_chunk *chunk = &storage->first; chunk != NULL;
         chunk = atomic_load_explicit(&chunk->next, memory_order_acquire)) {
        for (uint32_t i = 0; i < SHIM_STORAGE_ENTRIES; i++) {
            if (atomic_load_explicit(&chunk->entries[i].key, memory_order_acquire) == key)
                return &chunk->entries[i];
        }
    }
    return NULL;
}

/* A free entry, in a new chunk where all are taken; NULL without memory. */
static struct shim_storage_entry *find_free_locked(struct shim_storage *storage) REQUIRES(writers)
{
    struct shim_storage_entry *entry = find(storage, NULL);
    if (entry != NULL)
        return entry;
    struct shim_storage_chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL)
        return NULL;
    struct shim_storage_chunk *last = &storage->first;
    for (struct shim_storage_chunk *next; (next = atomic_load(&last->next)) != NULL;)
        last = next;
    atomic_store_explicit(&last->next, chunk, memory_order_release);
    return &chunk->entries[0];
}

CUresult shim_storage_put(struct shim_storage *storage, void *key, void *value,
                          shim_storage_destructor *destructor)
{
    if (key == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    tally_mutex_take(&writers);
    struct shim_storage_entry *entry = find(storage, key);
    if (entry == NULL)
        entry = find_free_locked(storage);
    if (entry != NULL) {
        entry->destructor = destructor;
        atomic_store_explicit(&entry->value, value, memory_order_relaxed);
        atomic_store_explicit(&entry->key, key, memory_order_release);
    }
    tally_mutex_give(&writers);
    return entry != NULL ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult shim_storage_delete(struct shim_storage *storage, void *key)
{
    if (key == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    tally_mutex_take(&writers);
    struct shim_storage_entry *entry = find(storage, key);
    if (entry != NULL)
        atomic_store_explicit(&entry->key, NULL, memory_order_release);
    tally_mutex_give(&writers);
    return entry != NULL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult shim_storage_get(struct shim_storage *storage, void *key, void **value)
{
    if (key == NULL || value == NULL)
        return CUDA_ERROR_INVALID_VALUE;
    struct shim_storage_entry *entry = find(storage, key);
    if (entry == NULL)
        return CUDA_ERROR_INVALID_HANDLE;
    void *found = atomic_load_explicit(&entry->value, memory_order_acquire);
    /* The entry may have been given to another key meanwhile; then this key has no value any more.
     */
    if (atomic_load_explicit(&entry->key, memory_order_acquire) != key)
        return CUDA_ERROR_INVALID_HANDLE;
    *value = found;
    return CUDA_SUCCESS;
}

/* Destructors run without the lock: they call back into the driver, also into this storage. */
void shim_storage_clear(struct shim_storage *storage, CUcontext context)
{
    for (struct shim_storage_chunk *chunk = &storage->first; chunk != NULL;
         chunk = atomic_load(&chunk->next)) {
        for (uint32_t i = 0; i < SHIM_STORAGE_ENTRIES; i++) {
            struct shim_storage_entry *entry = &chunk->entries[i];
            tally_mutex_take(&writers);
            void *key = atomic_load(&entry->key);
            void *value = atomic_load(&entry->value);
            shim_storage_destructor *destructor = entry->destructor;
            atomic_store_explicit(&entry->key, NULL, memory_order_release);
            tally_mutex_give(&writers);
            if (key != NULL && destructor != NULL)
                destructor(context, key, value);
        }
    }
}
