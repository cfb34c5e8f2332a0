/* Values that libraries attach to a context (the CLS export table): read on every runtime call, so
 * reads take no lock; written a few times per library and context. */
#ifndef TALLY_SHIM_STORAGE_H
#define TALLY_SHIM_STORAGE_H

#include <stdatomic.h>

#include "tally/cuda.h"

#define SHIM_STORAGE_ENTRIES 16u

typedef void shim_storage_destructor(CUcontext context, void *key, void *value);

struct shim_storage_entry {
    _Atomic(void *) key; /* NULL: free */
    _Atomic(void *) value;
    shim_storage_destructor *destructor;
};

/* Chunks are only ever added, so a reader may walk them while another thread writes. */
struct shim_storage_chunk {
    struct shim_storage_entry entries[SHIM_STORAGE_ENTRIES];
    _Atomic(struct shim_storage_chunk *) next;
};

/* All zeroes is an empty storage. */
struct shim_storage {
    struct shim_storage_chunk first;
};

CUresult shim_storage_put(struct shim_storage *storage, void *key, void *value,
                          shim_storage_destructor *destructor);
CUresult shim_storage_delete(struct shim_storage *storage, void *key);
/* CUDA_ERROR_INVALID_HANDLE (400) where the key has no value; that is what callers test for. */
CUresult shim_storage_get(struct shim_storage *storage, void *key, void **value);
/* Runs each value's destructor and empties the storage. */
void shim_storage_clear(struct shim_storage *storage, CUcontext context);

#endif
