/* The shim's lock: threads exclude each other, sleepers wake up, and a wait with a limit ends. */
#include <pthread.h>

#include "shim/lock.h"
#include "tests/check.h"

#define THREADS 4u
#define ROUNDS 200000u

static struct shim_lock lock;
static uint64_t first, second; /* always equal outside the lock */

static void *count(void *argument)
{
    uintptr_t torn = 0;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        if (i % 64 == 0) {
            while (!shim_lock_soon(&lock, 500)) {
            }
        } else {
            shim_lock_take(&lock);
        }
        torn += first != second;
        __atomic_store_n(&first, first + 1, __ATOMIC_RELAXED);
        __atomic_store_n(&second, second + 1, __ATOMIC_RELAXED);
        shim_lock_give(&lock);
    }
    return (void *)torn;
}

static void *take_and_give(void *argument)
{
    shim_lock_take(&lock);
    shim_lock_give(&lock);
    return NULL;
}

static void *wait_in_vain(void *argument) { return (void *)(uintptr_t)shim_lock_soon(&lock, 20); }

static void excludes(void)
{
    pthread_t threads[THREADS];
    for (uint32_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, count, NULL) == 0);
    for (uint32_t i = 0; i < THREADS; i++) {
        void *torn;
        CHECK(pthread_join(threads[i], &torn) == 0);
        CHECK(torn == NULL);
    }
    CHECK(first == (uint64_t)THREADS * ROUNDS && second == first);
    CHECK(lock.word == 0);
}

/* One sleeper gives up, and its mark must not keep the other one from being woken. */
static void wakes(void)
{
    pthread_t sleeper, impatient;
    shim_lock_take(&lock);
    CHECK(!shim_lock_try(&lock));
    CHECK(pthread_create(&sleeper, NULL, take_and_give, NULL) == 0);
    CHECK(pthread_create(&impatient, NULL, wait_in_vain, NULL) == 0);
    void *got;
    CHECK(pthread_join(impatient, &got) == 0);
    CHECK(got == NULL);
    shim_lock_give(&lock);
    CHECK(pthread_join(sleeper, NULL) == 0);
    CHECK(shim_lock_try(&lock));
    shim_lock_give(&lock);
}

int main(void)
{
    excludes();
    for (uint32_t i = 0; i < 10; i++)
        wakes();
    return CHECK_RESULT();
}
