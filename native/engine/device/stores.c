#include "engine/device/stores.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "engine/device/driver.h"

/* More than launches that can be with the device: stores that wait belong to these. */
#define ROOM 32768u

struct stores {
    struct driver *driver;
    pthread_mutex_t lock; /* never held over a call of the driver */
    pthread_cond_t made;
    uint64_t put_count, made_count; /* changed under the lock */
    _Atomic uint64_t waiting;       /* their difference, for who looks without the lock */
    _Atomic bool making;            /* one thread makes the calls, in their order */
    struct {
        CUdeviceptr word;
        uint32_t value;
    } ring[ROOM];
};

struct stores *stores_open(struct driver *driver)
{
    struct stores *stores = calloc(1, sizeof *stores);
    if (!stores)
        return NULL;
    stores->driver = driver;
    pthread_mutex_init(&stores->lock, NULL);
    pthread_cond_init(&stores->made, NULL);
    return stores;
}

void stores_close(struct stores *stores)
{
    if (!stores)
        return;
    pthread_cond_destroy(&stores->made);
    pthread_mutex_destroy(&stores->lock);
    free(stores);
}

/* The oldest that waits. Under the lock, which is released around the driver's call. */
static void make_one(struct stores *stores)
{
    CUdeviceptr word = stores->ring[stores->made_count % ROOM].word;
    uint32_t value = stores->ring[stores->made_count % ROOM].value;
    stores->making = true;
    pthread_mutex_unlock(&stores->lock);
    stores->driver->ops->store(stores->driver, word, value);
    pthread_mutex_lock(&stores->lock);
    stores->making = false;
    stores->made_count++;
    atomic_fetch_sub(&stores->waiting, 1);
    pthread_cond_broadcast(&stores->made);
}

/* All that wait, unless another thread is at it. What is put while one makes its last call is made
 * by that one: it looks again under the lock before it leaves. Under the lock. */
static void make_all(struct stores *stores)
{
    while (!stores->making && stores->made_count < stores->put_count)
        make_one(stores);
}

/* Until so many have been made, by whomever; the caller goes on with make_all, as nobody else may
 * have stayed. Under the lock. */
static void make_until(struct stores *stores, uint64_t count)
{
    while (stores->made_count < count)
        if (stores->making)
            pthread_cond_wait(&stores->made, &stores->lock);
        else
            make_one(stores);
}

void device_store(struct driver *driver, CUdeviceptr word, uint32_t value)
{
    struct stores *stores = driver->stores;
    if (!stores) {
        driver->ops->store(driver, word, value);
        return;
    }
    pthread_mutex_lock(&stores->lock);
    /* The driver has stood still for thousands of launches: here alone it is called, or waited for,
     * under the caller's lock. The caller's stores_go makes what is left. */
    if (stores->put_count - stores->made_count == ROOM)
        make_until(stores, stores->made_count + 1);
    stores->ring[stores->put_count % ROOM].word = word;
    stores->ring[stores->put_count % ROOM].value = value;
    stores->put_count++;
    atomic_fetch_add(&stores->waiting, 1);
    pthread_mutex_unlock(&stores->lock);
}

void stores_go(struct driver *driver)
{
    struct stores *stores = driver->stores;
    if (!stores || atomic_load(&stores->waiting) == 0)
        return;
    pthread_mutex_lock(&stores->lock);
    make_all(stores);
    pthread_mutex_unlock(&stores->lock);
}

bool stores_wanted(const struct driver *driver)
{
    const struct stores *stores = driver->stores;
    return stores && atomic_load(&stores->waiting) > 0 && !atomic_load(&stores->making);
}

void stores_settle(struct driver *driver)
{
    struct stores *stores = driver->stores;
    if (!stores || atomic_load(&stores->waiting) == 0)
        return;
    pthread_mutex_lock(&stores->lock);
    make_until(stores, stores->put_count);
    make_all(stores);
    pthread_mutex_unlock(&stores->lock);
}
