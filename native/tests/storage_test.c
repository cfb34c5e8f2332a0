/* Context-local storage: readers take no lock, and never see one key's value under another. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "shim/storage.h"
#include "tests/check.h"

#define KEYS 100u
#define READERS 3u
#define ROUNDS 20000u

static struct shim_storage storage;
static atomic_bool stopping;

static void *key_of(uintptr_t i) { return (void *)(i * 16); }

/* The value tells its key, so a reader can see a mix-up. */
static void *value_of(uintptr_t i, uintptr_t round) { return (void *)(i | round << 16); }

static void *read_all(void *argument)
{
    uintptr_t mixed = 0;
    while (!atomic_load(&stopping)) {
        for (uintptr_t i = 1; i <= KEYS; i++) {
            void *value = NULL;
            if (shim_storage_get(&storage, key_of(i), &value) == CUDA_SUCCESS)
                mixed += ((uintptr_t)value & 0xffff) != i;
        }
    }
    return (void *)mixed;
}

static uint32_t destroyed;

static void destroy(CUcontext context, void *key, void *value)
{
    destroyed++;
    CHECK((uintptr_t)key == ((uintptr_t)value & 0xffff) * 16);
}

int main(void)
{
    pthread_t readers[READERS];
    for (uint32_t i = 0; i < READERS; i++)
        CHECK(pthread_create(&readers[i], NULL, read_all, NULL) == 0);
    for (uintptr_t round = 0; round < ROUNDS; round++) {
        uintptr_t i = 1 + round * 31 % KEYS;
        CHECK(shim_storage_put(&storage, key_of(i), value_of(i, round), destroy) == CUDA_SUCCESS);
        if (round % 3 == 0)
            CHECK(shim_storage_delete(&storage, key_of(i)) == CUDA_SUCCESS);
    }
    atomic_store(&stopping, true);
    for (uint32_t i = 0; i < READERS; i++) {
        void *mixed;
        CHECK(pthread_join(readers[i], &mixed) == 0);
        CHECK(mixed == NULL);
    }
    uint32_t present = 0;
    void *value;
    for (uintptr_t i = 1; i <= KEYS; i++)
        present += shim_storage_get(&storage, key_of(i), &value) == CUDA_SUCCESS;
    shim_storage_clear(&storage, NULL);
    CHECK(present > 0 && destroyed == present);
    CHECK(shim_storage_get(&storage, key_of(1), &value) == CUDA_ERROR_INVALID_HANDLE);
    return CHECK_RESULT();
}
